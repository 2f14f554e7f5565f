//! Sets of numbers as sorted ranges: the arithmetic behind address sets.

/// Numbers that have a first and a last, and a next one.
pub(super) trait Point: Copy + Ord {
    const FIRST: Self;
    const LAST: Self;
    fn next(self) -> Option<Self>;
    fn previous(self) -> Option<Self>;
}

impl Point for u32 {
    const FIRST: Self = 0;
    const LAST: Self = Self::MAX;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Point for u128 {
    const FIRST: Self = 0;
    const LAST: Self = Self::MAX;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

/// A set of numbers.
///
/// Invariant: the ranges (first and last included) are sorted, do not overlap and do not touch, so
/// equal sets have equal ranges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ranges<T>(Vec<(T, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Point> Ranges<T> {
    pub fn full() -> Self {
        Self(vec![(T::FIRST, T::LAST)])
    }

    /// Ranges in any order, with a first that is not behind its last.
    pub fn of(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let mut set = Self(Vec::with_capacity(ranges.len()));
        for (first, last) in ranges {
            set.push(first, last);
        }
        set
    }

    /// Adds a range that begins no earlier than the last one added.
    fn push(&mut self, first: T, last: T) {
        if let Some(end) = self.0.last_mut()
            && end.1.next().is_none_or(|next| first <= next)
        {
            end.1 = end.1.max(last);
            return;
        }
        self.0.push((first, last));
    }

    pub fn ranges(&self) -> &[(T, T)] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.0.as_slice() == [(T::FIRST, T::LAST)]
    }

    pub fn contains(&self, point: T) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < point);
        self.0.get(at).is_some_and(|(first, _)| *first <= point)
    }

    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() || self.is_full() {
            return self.clone();
        }
        if self.is_empty() || other.is_full() {
            return other.clone();
        }
        let mut set = Self(Vec::with_capacity(self.0.len() + other.0.len()));
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(l), Some(r)) if l <= r => left.next(),
                (_, Some(_)) => right.next(),
                _ => left.next(),
            };
            let Some(&(first, last)) = next else {
                return set;
            };
            set.push(first, last);
        }
    }

    pub fn intersection(&self, other: &Self) -> Self {
        if self.is_full() {
            return other.clone();
        }
        if other.is_full() {
            return self.clone();
        }
        // Where one side is much smaller, only the part of the other that it meets is looked at.
        let (few, many) = if self.0.len() <= other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        let mut set = Vec::new();
        let mut rest = many.0.as_slice();
        for &(first, last) in &few.0 {
            rest = rest.get(skip(rest, first)..).unwrap_or_default();
            for &(from, to) in rest {
                if from > last {
                    break;
                }
                set.push((from.max(first), to.min(last)));
            }
        }
        // The pieces lie inside ranges that do not touch, so they do not touch either.
        Self(set)
    }

    pub fn complement(&self) -> Self {
        let mut set = Vec::with_capacity(self.0.len() + 1);
        let mut from = Some(T::FIRST);
        for &(first, last) in &self.0 {
            if let (Some(from), Some(to)) = (from, first.previous())
                && from <= to
            {
                set.push((from, to));
            }
            from = last.next();
        }
        if let Some(from) = from {
            set.push((from, T::LAST));
        }
        Self(set)
    }

    pub fn difference(&self, other: &Self) -> Self {
        let mut set = Vec::with_capacity(self.0.len());
        // What is left of a range of which a hole took the beginning.
        let mut cut: Option<(T, T)> = None;
        let mut rest = self.0.as_slice();
        for &(first, last) in &other.0 {
            if let Some((from, to)) = cut.take() {
                if to < first {
                    set.push((from, to));
                } else {
                    cut = split(&mut set, (from, to), (first, last));
                }
            }
            if cut.is_some() {
                continue;
            }
            // Ranges between two holes are copied in one go: holes are mostly few.
            let (before, after) = rest.split_at(skip(rest, first));
            set.extend_from_slice(before);
            rest = after;
            while let Some((&range, after)) = rest.split_first() {
                if range.0 > last {
                    break;
                }
                rest = after;
                cut = split(&mut set, range, (first, last));
                if cut.is_some() {
                    break;
                }
            }
        }
        set.extend(cut);
        set.extend_from_slice(rest);
        Self(set)
    }

    pub fn contains_all(&self, other: &Self) -> bool {
        other.difference(self).is_empty()
    }
}

/// Takes a hole out of a range that it meets: what is before the hole is added to `set`, what is
/// behind it is given back.
fn split<T: Point>(set: &mut Vec<(T, T)>, range: (T, T), hole: (T, T)) -> Option<(T, T)> {
    if let Some(end) = hole.0.previous()
        && range.0 <= end
    {
        set.push((range.0, end));
    }
    let from = hole.1.next()?;
    (from <= range.1).then_some((from, range.1))
}

/// How many ranges at the beginning end before a point. Looks near the beginning first, since that
/// is where the answer mostly is.
fn skip<T: Point>(ranges: &[(T, T)], point: T) -> usize {
    let mut step = 1_usize;
    while ranges.get(step).is_some_and(|(_, last)| *last < point) {
        step = step.saturating_mul(2);
    }
    let window = ranges.get(..ranges.len().min(step.saturating_add(1)));
    window
        .unwrap_or_default()
        .partition_point(|(_, last)| *last < point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A space of 64 numbers laid over the ends of the real one, so that both ends are tested.
    const SIZE: u32 = 64;
    fn at(n: u32) -> u32 {
        if n < SIZE / 2 {
            n
        } else {
            u32::MAX - (SIZE - 1 - n)
        }
    }

    fn set(bits: u64) -> Ranges<u32> {
        let one = |n: u32| (bits >> n) & 1 == 1;
        let middle = (at(SIZE / 2 - 1) + 1, at(SIZE / 2) - 1);
        let mut ranges: Vec<_> = (0..SIZE)
            .filter(|n| one(*n))
            .map(|n| (at(n), at(n)))
            .collect();
        // The wide middle belongs to the set when both of its neighbours do.
        if one(SIZE / 2 - 1) && one(SIZE / 2) {
            ranges.push(middle);
        }
        Ranges::of(ranges)
    }

    fn bits(set: &Ranges<u32>) -> u64 {
        (0..SIZE)
            .filter(|n| set.contains(at(*n)))
            .fold(0, |b, n| b | 1 << n)
    }

    fn well_formed(set: &Ranges<u32>) -> bool {
        set.0.iter().all(|(a, b)| a <= b)
            && set
                .0
                .windows(2)
                .all(|w| w[0].1.checked_add(1).is_some_and(|n| n < w[1].0))
    }

    proptest! {
        #[test]
        fn algebra_agrees_with_a_bitmap(a: u64, b: u64) {
            let (x, y) = (set(a), set(b));
            for (got, want) in [
                (x.union(&y), a | b),
                (x.intersection(&y), a & b),
                (x.complement(), !a),
                (x.difference(&y), a & !b),
            ] {
                prop_assert!(well_formed(&got), "{got:?}");
                prop_assert_eq!(bits(&got), want);
            }
            prop_assert_eq!(x.contains_all(&y), y.difference(&x).is_empty());
            prop_assert_eq!(x.complement().complement(), x.clone());
            prop_assert_eq!(x.difference(&y), x.intersection(&y.complement()));
            prop_assert_eq!(x.union(&x.complement()), Ranges::full());
        }
    }

    #[test]
    fn the_ends_of_the_space_are_numbers_like_others() {
        let full: Ranges<u128> = Ranges::full();
        assert!(full.complement().is_empty() && Ranges::<u128>::default().complement().is_full());
        let ends = Ranges::of(vec![(u128::MAX, u128::MAX), (0, 0)]);
        assert_eq!(ends.complement().ranges(), [(1, u128::MAX - 1)]);
        assert!(ends.contains(0) && ends.contains(u128::MAX) && !ends.contains(1));
    }
}
