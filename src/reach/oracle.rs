//! Inputs that are not known: every value they may have is tried.
//!
//! An evaluation asks the oracle wherever an input is missing. The first time it is told the first
//! of the possible values; then the evaluation is run again for each other value, and so on for
//! what those runs ask. Answers that all runs share are proven. This tries too many combinations
//! rather than too few, so that nothing is proven that is not so.

use std::collections::{HashMap, HashSet};

use super::missing::Missing;

/// How often one question may be evaluated before it is given up.
const MOST_RUNS: usize = 4096;

/// Answers of one run.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// What earlier runs found out must be tried: one answer for each question, in order.
    script: Vec<usize>,
    asked: Vec<Asked>,
    /// Answers so far, and out of how many possibilities.
    known: HashMap<Missing, (usize, usize)>,
    /// Whether an input had more possibilities in one place than in another.
    pub mixed: bool,
    /// The ports that the client may have, as far as answers so far leave them open.
    client_ports: Vec<Range>,
    /// Whether the client has chosen a port that may be a failsafe port.
    pub chosen: bool,
    /// ICMP type and code, as far as they were chosen.
    icmp: HashMap<IcmpPart, u8>,
    /// ICMP types and codes that were answered with no.
    icmp_denied: HashSet<(IcmpPart, u8)>,
}

#[derive(Debug, Clone)]
struct Asked {
    missing: Missing,
    node: String,
    options: usize,
}

impl Oracle {
    fn new(script: Vec<usize>, client: &ClientPorts) -> Self {
        Self {
            script,
            client_ports: client.ranges.clone(),
            chosen: client.chosen,
            ..Self::default()
        }
    }

    /// Whether anything was asked.
    pub fn was_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// One of `options` possibilities for an input, counted from zero. The same input has the same
    /// value throughout a run. The most likely possibility should be the first.
    pub fn choose(&mut self, node: &str, missing: Missing, options: usize) -> usize {
        if options < 2 {
            return 0;
        }
        if let Some((known, of)) = self.known.get(&missing) {
            self.mixed |= *of != options;
            return *known;
        }
        let answer = self.ask(node, missing.clone(), options);
        self.known.insert(missing, (answer, options));
        answer
    }

    /// Yes or no, where the possibilities are these two.
    pub fn is(
        &mut self,
        node: &str,
        known: Option<bool>,
        missing: impl FnOnce() -> Missing,
    ) -> bool {
        known.unwrap_or_else(|| self.choose(node, missing(), 2) == 0)
    }

    fn ask(&mut self, node: &str, missing: Missing, options: usize) -> usize {
        let answer = self.script.get(self.asked.len()).copied();
        self.asked.push(Asked {
            missing,
            node: node.to_owned(),
            options,
        });
        answer.unwrap_or(0)
    }

    /// Whether the client's own port is in one of the ranges.
    pub fn client_port_in(&mut self, node: &str, ranges: &[(u16, u16)]) -> bool {
        let (inside, outside) = split(&self.client_ports, ranges);
        if inside.is_empty() || outside.is_empty() {
            return !inside.is_empty();
        }
        // A client's port is more likely none of those that a rule names.
        let yes = self.ask(node, Missing::ClientPort, 2) == 1;
        self.client_ports = if yes { inside } else { outside };
        yes
    }

    /// Whether an ICMP packet has a type and code, of which only what is unknown is asked about.
    /// A packet has one type and one code: once they are chosen, all others are out.
    pub fn icmp_is(&mut self, node: &str, kind: Option<u8>, code: Option<u8>) -> bool {
        let kind_fits = kind.is_none_or(|kind| self.icmp_part(node, IcmpPart::Kind, kind));
        kind_fits && code.is_none_or(|code| self.icmp_part(node, IcmpPart::Code, code))
    }

    fn icmp_part(&mut self, node: &str, part: IcmpPart, number: u8) -> bool {
        if let Some(chosen) = self.icmp.get(&part) {
            return *chosen == number;
        }
        if self.icmp_denied.contains(&(part, number)) {
            return false;
        }
        let yes = self.ask(node, Missing::IcmpType, 2) == 1;
        if yes {
            self.icmp.insert(part, number);
        } else {
            self.icmp_denied.insert((part, number));
        }
        yes
    }
}

/// What the header of an ICMP packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum IcmpPart {
    Kind,
    Code,
}

/// Ports from the first to the second, both included.
type Range = (u16, u16);

/// The parts of `ports` inside and outside of `ranges`.
fn split(ports: &[Range], ranges: &[Range]) -> (Vec<Range>, Vec<Range>) {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for &(first, last) in ports {
        let mut from = Some(first);
        for &(low, high) in &sorted {
            let Some(start) = from.filter(|start| *start <= last) else {
                break;
            };
            if high < start || low > last {
                continue;
            }
            if start < low {
                outside.push((start, low.saturating_sub(1)));
            }
            inside.push((start.max(low), high.min(last)));
            from = high.checked_add(1);
        }
        if let Some(start) = from.filter(|start| *start <= last) {
            outside.push((start, last));
        }
    }
    (inside, outside)
}

/// The ports that a client may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientPorts {
    ranges: Vec<Range>,
    chosen: bool,
}

impl ClientPorts {
    /// The one that is given, or any.
    pub fn given(port: Option<u16>) -> Self {
        let ranges = vec![port.map_or((1, u16::MAX), |p| (p, p))];
        let chosen = false;
        Self { ranges, chosen }
    }

    /// Those that are not among some.
    pub fn without(ports: &[u16]) -> Self {
        let ports: Vec<Range> = ports.iter().map(|p| (*p, *p)).collect();
        let (_, ranges) = split(&[(1, u16::MAX)], &ports);
        let chosen = false;
        Self { ranges, chosen }
    }

    /// Those that a client may have chosen, any where none are known.
    pub fn chosen(ports: &[u16]) -> Self {
        let mut ranges: Vec<Range> = ports.iter().map(|p| (*p, *p)).collect();
        if ranges.is_empty() {
            ranges.push((1, u16::MAX));
        }
        let chosen = true;
        Self { ranges, chosen }
    }
}

/// An answer that can be put together from answers under different assumptions.
pub(super) trait Outcome: Sized {
    /// The answer where all agree, and unproven where they do not, because `missing` is not known.
    fn merge(answers: Vec<Self>, node: &str, missing: &Missing) -> Self;
}

/// An answer about whoever comes.
pub(super) trait ForAnybody: Outcome {
    /// Whether something is denied.
    fn denies(&self) -> bool;

    /// The answer where a client may do better by its choice of a port: what is denied is unproven
    /// as far as it is not denied by choice either.
    fn unless_chosen(self, by_choice: &Self) -> Self;
}

/// Evaluates under every possible value of every input that is missing.
pub(super) fn explore<O: Outcome>(
    client: &ClientPorts,
    mut run: impl FnMut(&mut Oracle) -> O,
) -> O {
    let mut runs = 0;
    branch(client, Vec::new(), &mut runs, &mut run)
}

fn branch<O: Outcome>(
    client: &ClientPorts,
    script: Vec<usize>,
    runs: &mut usize,
    run: &mut impl FnMut(&mut Oracle) -> O,
) -> O {
    *runs = runs.saturating_add(1);
    let at = script.len();
    let mut oracle = Oracle::new(script.clone(), client);
    let first = run(&mut oracle);
    let Some(question) = oracle.asked.get(at).cloned() else {
        return first;
    };
    let mut answers = Vec::with_capacity(question.options);
    for option in 0..question.options {
        if *runs >= MOST_RUNS {
            // Two answers that cannot agree: nothing that was not tried is proven.
            answers.push(first);
            return O::merge(answers, &question.node, &Missing::TooMany);
        }
        let mut script = script.clone();
        script.push(option);
        answers.push(branch(client, script, runs, run));
    }
    O::merge(answers, &question.node, &question.missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verdict for tests: `None` is unproven.
    #[derive(Debug, PartialEq)]
    struct Answer(Option<bool>);
    impl Outcome for Answer {
        fn merge(answers: Vec<Self>, _: &str, missing: &Missing) -> Self {
            let agree = answers.windows(2).all(|w| w[0] == w[1]) && *missing != Missing::TooMany;
            if agree {
                answers.into_iter().next().unwrap()
            } else {
                Self(None)
            }
        }
    }

    fn setting(name: &'static str) -> Missing {
        Missing::Setting {
            node: "n".into(),
            name,
        }
    }

    #[test]
    fn what_does_not_matter_is_proven_and_what_matters_is_not() {
        let same = explore(&ClientPorts::given(None), |o| {
            o.choose("n", setting("a"), 3);
            Answer(Some(true))
        });
        assert_eq!(same, Answer(Some(true)));
        let other = explore(&ClientPorts::given(None), |o| {
            Answer(Some(o.choose("n", setting("a"), 3) == 0))
        });
        assert_eq!(other, Answer(None));
    }

    #[test]
    fn one_input_has_one_value_in_a_run() {
        let answer = explore(&ClientPorts::given(None), |o| {
            let first = o.choose("n", setting("a"), 2);
            o.choose("n", setting("b"), 2);
            Answer(Some(first == o.choose("m", setting("a"), 2)))
        });
        assert_eq!(answer, Answer(Some(true)));
    }

    #[test]
    fn port_ranges_that_cover_everything_need_no_port() {
        let answer = explore(&ClientPorts::given(None), |o| {
            let low = o.client_port_in("n", &[(1, 1023)]);
            let high = o.client_port_in("n", &[(1024, u16::MAX)]);
            Answer(Some(low != high))
        });
        assert_eq!(answer, Answer(Some(true)));
        let known = explore(&ClientPorts::given(Some(179)), |o| {
            Answer(Some(o.client_port_in("n", &[(179, 179)])))
        });
        assert_eq!(known, Answer(Some(true)));
    }

    #[test]
    fn ports_are_split_where_ranges_overlap_leave_gaps_or_end_early() {
        let split = |ranges: &[Range]| split(&[(10, 20), (30, 40)], ranges);
        assert_eq!(split(&[(15, 25), (12, 17)]).0, [(12, 17), (18, 20)]);
        assert_eq!(split(&[(15, 25), (12, 17)]).1, [(10, 11), (30, 40)]);
        assert_eq!(split(&[(1, 20), (5, 30)]).0, [(10, 20), (30, 30)]);
        assert_eq!(split(&[(1, 20), (5, 30)]).1, [(31, 40)]);
        assert_eq!(split(&[(10, 19), (30, 39)]).1, [(20, 20), (40, 40)]);
    }

    #[test]
    fn a_client_chooses_among_ports_that_are_known_or_any() {
        let is_5 = |ports: &[u16]| {
            explore(&ClientPorts::chosen(ports), |o| {
                Answer(Some(o.client_port_in("n", &[(5, 5)])))
            })
        };
        assert_eq!(is_5(&[]), Answer(None));
        assert_eq!(is_5(&[5]), Answer(Some(true)));
        assert_eq!(is_5(&[6]), Answer(Some(false)));
    }

    #[test]
    fn an_icmp_packet_has_one_type() {
        let both = explore(&ClientPorts::given(None), |o| {
            let ping = o.icmp_is("n", Some(8), None) && o.icmp_is("n", Some(8), Some(0));
            Answer(Some(ping && o.icmp_is("n", Some(13), None)))
        });
        assert_eq!(both, Answer(Some(false)));
        let open = explore(&ClientPorts::given(None), |o| {
            Answer(Some(o.icmp_is("n", Some(8), Some(0))))
        });
        assert_eq!(open, Answer(None));
    }

    #[test]
    fn too_many_inputs_prove_nothing() {
        let answer = explore(&ClientPorts::given(None), |o| {
            for number in 1..60 {
                let node = format!("n{number}");
                o.choose("n", Missing::ArrivalInterface { node }, 2);
            }
            Answer(Some(true))
        });
        assert_eq!(answer, Answer(None));
    }
}
