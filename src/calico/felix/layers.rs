//! The layers that Felix takes its failsafe lists from, and what is in force on a host.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde_json::Value;

use super::variables::unread_sources;
use super::{Configurations, Direction, Failsafe, FailsafeError, NO_NETWORK, parse_list, variable};
use crate::calico::{Kind, Object, ObjectId, ServerPort, Snapshot, Version};

/// Where an effective list comes from, highest layer first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailsafeSource {
    /// An environment variable of the calico-node workload.
    Environment {
        /// The workload.
        workload: ObjectId,
        /// The variable.
        variable: String,
        /// The ConfigMap that the value is taken from, if it is.
        from: Option<ObjectId>,
    },
    /// An annotation of a FelixConfiguration, which stands above its field.
    Annotation {
        /// Name of the FelixConfiguration.
        configuration: String,
        /// The annotation.
        key: String,
    },
    /// The field of a FelixConfiguration.
    Field {
        /// Name of the FelixConfiguration.
        configuration: String,
    },
    /// The list built into the running version.
    BuiltIn,
}

impl FailsafeSource {
    /// The FelixConfiguration that holds the list, in its field or its annotation.
    #[must_use]
    pub fn configuration(&self) -> Option<&str> {
        match self {
            Self::Annotation { configuration, .. } | Self::Field { configuration } => {
                Some(configuration)
            }
            _ => None,
        }
    }
}

impl fmt::Display for FailsafeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment {
                workload,
                variable,
                from: Some(from),
            } => write!(f, "{variable} of {workload}, from {from}"),
            Self::Environment {
                workload, variable, ..
            } => write!(f, "{variable} of {workload}"),
            Self::Annotation { configuration, key } => {
                write!(f, "annotation {key} of FelixConfiguration/{configuration}")
            }
            Self::Field { configuration } => write!(f, "FelixConfiguration/{configuration}"),
            Self::BuiltIn => f.write_str("built-in list"),
        }
    }
}

/// A list in force on a host, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effective {
    /// The entries.
    pub entries: Vec<Failsafe>,
    /// The layer that decided.
    pub source: FailsafeSource,
}

impl Effective {
    /// The entries for a port.
    pub fn of(&self, port: ServerPort) -> impl Iterator<Item = &Failsafe> {
        self.entries.iter().filter(move |f| f.port == port)
    }
}

/// Why Felix would not run, and which layer makes it so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{layer}: {error}")]
pub struct LayerError {
    /// The layer with the bad entry.
    pub layer: FailsafeSource,
    /// The entry.
    pub error: FailsafeError,
}

/// One value of one list in one layer.
#[derive(Debug, Clone)]
struct Layer {
    source: FailsafeSource,
    entries: Vec<Failsafe>,
}

/// A FelixConfiguration's lists, `None` where it does not set one.
#[derive(Debug, Clone, Default)]
struct Lists {
    inbound: Option<Layer>,
    outbound: Option<Layer>,
}

impl Lists {
    fn get(&self, direction: Direction) -> Option<&Layer> {
        match direction {
            Direction::Inbound => self.inbound.as_ref(),
            Direction::Outbound => self.outbound.as_ref(),
        }
    }
}

/// Decides whether a node selector matches labels. The selector language is another room's, so it
/// is handed in.
pub type MatchNode<'a> = &'a dyn Fn(&str, &BTreeMap<String, String>) -> bool;

/// Every layer that a cluster's failsafe lists come from.
#[derive(Debug, Clone)]
pub struct FailsafeLayers {
    version: Version,
    environment: Lists,
    nodes: BTreeMap<String, Lists>,
    /// Oldest first: of several that match a node the oldest stands whole.
    scoped: Vec<(String, Lists)>,
    default: Lists,
    /// What could override a list but cannot be seen.
    pub unseen: Vec<String>,
    /// The lists that a layer overrides whose value cannot be read.
    hidden: Vec<(Direction, FailsafeSource)>,
    /// The lists that a source of the whole environment may override, which cannot be read.
    perhaps_hidden: Vec<Direction>,
    /// Layers that stop Felix. It validates every layer, also one that is overridden.
    pub fatal: Vec<LayerError>,
}

impl FailsafeLayers {
    /// Reads all layers of a snapshot: FelixConfigurations and the environment of calico-node.
    #[must_use]
    pub fn read(snapshot: &Snapshot) -> Self {
        let version = snapshot.version();
        let mut layers = Self {
            version,
            environment: Lists::default(),
            nodes: BTreeMap::new(),
            scoped: Vec::new(),
            default: Lists::default(),
            unseen: Vec::new(),
            hidden: Vec::new(),
            perhaps_hidden: Vec::new(),
            fatal: Vec::new(),
        };
        let configurations = Configurations::read(snapshot, version);
        if let Some(default) = configurations.default() {
            layers.default = layers.lists_of(default);
        }
        for (node, configuration) in configurations.nodes() {
            let lists = layers.lists_of(configuration);
            layers.nodes.insert(node.to_owned(), lists);
        }
        for (selector, configuration) in configurations.scoped() {
            let lists = layers.lists_of(configuration);
            layers.scoped.push((selector.to_owned(), lists));
        }
        layers.read_environment(snapshot);
        layers
    }

    /// The list in force on a host.
    #[must_use]
    pub fn effective(
        &self,
        direction: Direction,
        node: &str,
        labels: &BTreeMap<String, String>,
        matches: MatchNode<'_>,
    ) -> Effective {
        let layer = self.layers_on(direction, node, labels, matches).next();
        self.in_force(direction, layer)
    }

    /// The list that would be in force on a host if a FelixConfiguration did not have the field.
    #[must_use]
    pub fn effective_without_field_of(
        &self,
        configuration: &str,
        direction: Direction,
        node: &str,
        labels: &BTreeMap<String, String>,
        matches: MatchNode<'_>,
    ) -> Effective {
        let field = FailsafeSource::Field {
            configuration: configuration.to_owned(),
        };
        let mut layers = self.layers_on(direction, node, labels, matches);
        self.in_force(direction, layers.find(|layer| layer.source != field))
    }

    /// The layers that set a list on a host, highest first.
    fn layers_on<'l>(
        &'l self,
        direction: Direction,
        node: &str,
        labels: &BTreeMap<String, String>,
        matches: MatchNode<'_>,
    ) -> impl Iterator<Item = &'l Layer> {
        let read = self.read_on(node, labels, matches).into_iter().flatten();
        read.filter_map(move |lists| lists.get(direction))
    }

    /// What a host reads, highest layer first.
    fn read_on(
        &self,
        node: &str,
        labels: &BTreeMap<String, String>,
        matches: MatchNode<'_>,
    ) -> [Option<&Lists>; 4] {
        let mut scoped = self.scoped.iter();
        let scoped = scoped.find(|(selector, _)| matches(selector, labels));
        [
            Some(&self.environment),
            self.nodes.get(node),
            scoped.map(|(_, lists)| lists),
            Some(&self.default),
        ]
    }

    fn in_force(&self, direction: Direction, layer: Option<&Layer>) -> Effective {
        match layer {
            Some(layer) => Effective {
                entries: layer.entries.clone(),
                source: layer.source.clone(),
            },
            None => Effective {
                entries: direction.built_in(self.version),
                source: FailsafeSource::BuiltIn,
            },
        }
    }

    /// Every network that an entry of any layer is limited to.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        let scoped = self.scoped.iter().map(|(_, lists)| lists);
        let all = [&self.environment, &self.default].into_iter();
        let all = all.chain(self.nodes.values()).chain(scoped);
        let layers = all.flat_map(|lists| lists.inbound.iter().chain(&lists.outbound));
        layers.flat_map(|layer| layer.entries.iter().filter_map(|entry| entry.net))
    }

    /// What stops Felix on a host: an entry in a layer that this host reads. The layers of other
    /// hosts do it no harm.
    #[must_use]
    pub fn fatal_on(
        &self,
        node: &str,
        labels: &BTreeMap<String, String>,
        matches: MatchNode<'_>,
    ) -> Option<&LayerError> {
        let read = self.read_on(node, labels, matches);
        let holds = |lists: &Lists, source: &FailsafeSource| {
            let mut both = Direction::BOTH.into_iter().filter_map(|d| lists.get(d));
            both.any(|layer| layer.source == *source)
        };
        self.fatal.iter().find(|error| {
            let mut read = read.iter().flatten();
            // A network is read when the object comes in, before anybody asks whom it is for.
            let everywhere = error.error.problem == NO_NETWORK
                && matches!(error.layer, FailsafeSource::Field { .. });
            everywhere || read.any(|lists| holds(lists, &error.layer))
        })
    }

    fn lists_of(&mut self, configuration: &Object) -> Lists {
        Lists {
            inbound: self.list_of(configuration, Direction::Inbound),
            outbound: self.list_of(configuration, Direction::Outbound),
        }
    }

    fn list_of(&mut self, object: &Object, direction: Direction) -> Option<Layer> {
        let configuration = object.name().to_owned();
        if let Some((key, text)) = override_annotation(object, direction.parameter()) {
            let source = FailsafeSource::Annotation {
                configuration,
                key: key.to_owned(),
            };
            // An empty override takes the field away, so that the next layer decides.
            return self.layer(source, parse_list(text));
        }
        let entries = object.spec(direction.field())?.as_array()?;
        let read = entries.iter().map(Failsafe::from_value).collect();
        self.layer(
            FailsafeSource::Field { configuration },
            Result::map(read, Some),
        )
    }

    fn layer(
        &mut self,
        source: FailsafeSource,
        read: Result<Option<Vec<Failsafe>>, FailsafeError>,
    ) -> Option<Layer> {
        match read {
            Ok(entries) => entries.map(|entries| Layer { source, entries }),
            Err(error) => {
                self.fatal.push(LayerError {
                    layer: source.clone(),
                    error,
                });
                Some(Layer {
                    source,
                    entries: Vec::new(),
                })
            }
        }
    }

    fn read_environment(&mut self, snapshot: &Snapshot) {
        for workload in snapshot.of(Kind::DaemonSet) {
            let containers = workload
                .value()
                .pointer("/spec/template/spec/containers")
                .and_then(Value::as_array);
            let felix = containers
                .into_iter()
                .flatten()
                .find(|c| c.get("name").and_then(Value::as_str) == Some("calico-node"));
            if let Some(container) = felix {
                for direction in Direction::BOTH {
                    self.read_variable(snapshot, workload, container, direction);
                }
                let unread = unread_sources(snapshot, workload, container);
                self.unseen.extend(unread.map(|source| {
                    format!(
                        "environment of {} from {source}: it cannot be read here",
                        workload.id()
                    )
                }));
            }
        }
    }

    fn read_variable(
        &mut self,
        snapshot: &Snapshot,
        workload: &Object,
        container: &Value,
        direction: Direction,
    ) {
        let wanted = format!("FELIX_{}", direction.parameter());
        let Some(found) = variable(snapshot, workload, container, &wanted) else {
            return;
        };
        if !found.is_certain {
            self.perhaps_hidden.push(direction);
            return;
        }
        let source = FailsafeSource::Environment {
            workload: workload.id().clone(),
            variable: found.name,
            from: found.from,
        };
        match found.value {
            Some(text) => {
                let layer = self.layer(source, parse_list(&text));
                match direction {
                    Direction::Inbound => self.environment.inbound = layer,
                    Direction::Outbound => self.environment.outbound = layer,
                }
            }
            None => {
                self.unseen
                    .push(format!("{source}: its value cannot be read here"));
                self.hidden.push((direction, source));
            }
        }
    }

    /// Whether a list is overridden by something whose value cannot be read, or may be.
    #[must_use]
    pub fn is_hidden(&self, direction: Direction) -> bool {
        self.hidden_source(direction).is_some() || self.perhaps_hidden.contains(&direction)
    }

    /// The layer that overrides a list with a value that cannot be read.
    #[must_use]
    pub fn hidden_source(&self, direction: Direction) -> Option<&FailsafeSource> {
        let mut hidden = self.hidden.iter();
        hidden
            .find(|(of, _)| *of == direction)
            .map(|(_, source)| source)
    }
}

/// The annotation of a FelixConfiguration that stands above a field, by the field's name or Felix's
/// own name of the setting: it counts in any case.
#[must_use]
pub fn override_annotation<'c>(
    configuration: &'c Object,
    parameter: &str,
) -> Option<(&'c str, &'c str)> {
    configuration.annotations().find(|(key, _)| {
        key.strip_prefix("config.projectcalico.org/")
            .is_some_and(|name| name.eq_ignore_ascii_case(parameter))
    })
}
