//! Whether a verb works on this machine or on a cluster.

use crate::args::{ModelFrom, Program};

/// What the command line and the environment say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// The name that the program was called by.
    pub(crate) program: Program,
    /// The flag that names a cluster, if one is given.
    pub(crate) cluster_flag: Option<&'static str>,
    /// Who chose a model on this machine.
    pub(crate) model: ModelFrom,
}

/// What there is. Looked at only where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct There {
    /// Whether `muster up` runs for the default model.
    pub(crate) model: bool,
    /// Whether a cluster is known: by a kubeconfig, or because this is a pod.
    pub(crate) cluster: bool,
}

/// Where to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine.
    Here,
    /// On a cluster.
    Cluster,
    /// There is neither.
    Nowhere,
}

/// Why there is no telling where to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Both are named.
    #[error("--model is for this machine and {0} for a cluster; give one of them")]
    Both(&'static str),
    /// The plugin was asked for a model on this machine.
    #[error("kubectl muster works on clusters; for a model on this machine write: muster --model")]
    PluginHere,
}

impl Said {
    /// Whether [`choose`] needs to know what there is.
    pub(crate) fn leaves_open(&self) -> bool {
        self.program == Program::Muster && self.cluster_flag.is_none() && self.model == ModelFrom::Default
    }
}

/// Decides where to work. The command line goes before the environment, and what is said before what is there; a model
/// that is up goes before a cluster that is merely known.
pub(crate) fn choose(said: &Said, there: &There) -> Result<Place, PlaceError> {
    match (said.model, said.cluster_flag, said.program) {
        (ModelFrom::Flag, Some(flag), _) => Err(PlaceError::Both(flag)),
        (ModelFrom::Flag, None, Program::Plugin) => Err(PlaceError::PluginHere),
        (ModelFrom::Flag, None, Program::Muster) => Ok(Place::Here),
        (_, Some(_), _) | (_, _, Program::Plugin) => Ok(Place::Cluster),
        (ModelFrom::Environment, None, Program::Muster) => Ok(Place::Here),
        (ModelFrom::Default, None, Program::Muster) if there.model => Ok(Place::Here),
        (ModelFrom::Default, None, Program::Muster) if there.cluster => Ok(Place::Cluster),
        (ModelFrom::Default, None, Program::Muster) => Ok(Place::Nowhere),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_before_what_is_there() {
        use ModelFrom::{Default as Nobody, Environment, Flag};
        use Program::{Muster, Plugin};
        let context = Some("--context");
        let both = Err(PlaceError::Both("--context"));
        for (program, cluster_flag, model, expected) in [
            (Muster, None, Flag, Ok(Place::Here)),
            (Muster, None, Environment, Ok(Place::Here)),
            (Muster, context, Nobody, Ok(Place::Cluster)),
            (Muster, context, Environment, Ok(Place::Cluster)),
            (Muster, context, Flag, both),
            (Plugin, None, Nobody, Ok(Place::Cluster)),
            (Plugin, None, Environment, Ok(Place::Cluster)),
            (Plugin, context, Nobody, Ok(Place::Cluster)),
            (Plugin, None, Flag, Err(PlaceError::PluginHere)),
            (Plugin, context, Flag, both),
        ] {
            let said = Said { program, cluster_flag, model };
            assert!(!said.leaves_open(), "{said:?}");
            for model in [false, true] {
                for cluster in [false, true] {
                    assert_eq!(choose(&said, &There { model, cluster }), expected, "{said:?}");
                }
            }
        }
        let said = Said { program: Muster, cluster_flag: None, model: Nobody };
        assert!(said.leaves_open());
        for (model, cluster, expected) in [
            (true, true, Place::Here),
            (true, false, Place::Here),
            (false, true, Place::Cluster),
            (false, false, Place::Nowhere),
        ] {
            assert_eq!(choose(&said, &There { model, cluster }), Ok(expected));
        }
    }
}
