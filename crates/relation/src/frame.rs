//! The relation as a stream of JSON lines, for the substrate that carries it over a socket.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Assignment, ClusterData, Report};

/// The longest line that is read, in bytes. A workload config is a few kilobytes, certificates a few more.
pub const MAX_FRAME_LEN: usize = 4 << 20;

/// From the coordinator to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum ToAgent {
    /// What the unit is to run. Sent whole each time.
    Update {
        /// This unit's assignment.
        assignment: Assignment,
        /// What the cluster shares.
        cluster: Box<ClusterData>,
    },
}

/// From an agent to the coordinator: first thing after the connection is made, then at every change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum ToCoordinator {
    /// What is true of the unit.
    Report(Report),
}

/// A message as one line of JSON.
pub trait Frame: Serialize + DeserializeOwned {
    /// The message with the line break that ends it.
    fn to_line(&self) -> String {
        // These types hold text keys and finite numbers only, which JSON can always write.
        let mut line = serde_json::to_string(self).expect("relation messages have a JSON form");
        line.push('\n');
        line
    }

    /// Reads one line, with or without its line break.
    fn from_line(line: &str) -> Result<Self, FrameError> {
        if line.len() > MAX_FRAME_LEN {
            return Err(FrameError::TooLong(line.len()));
        }
        serde_json::from_str(line).map_err(FrameError::Read)
    }
}

impl Frame for ToAgent {}
impl Frame for ToCoordinator {}

/// Why a line is no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The line is too long.
    #[error("the line has {0} bytes; at most {MAX_FRAME_LEN} are read")]
    TooLong(usize),
    /// The line is not JSON, or not of the expected shape.
    #[error("the line is no message of the cluster relation")]
    Read(#[source] serde_json::Error),
}
