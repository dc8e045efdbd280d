//! Transitions on a real cluster: samples are written while Mimir goes apart and back, the operator and a unit that leaves are killed, and
//! the disks of units that go are deleted. Nothing acknowledged is lost.

use muster_tests::kubernetes::node::in_cluster;
use muster_tests::kubernetes::transition;

#[test]
fn with_one_copy() {
    in_cluster(1, 20, async |site| transition::there_and_back(&site, 1).await.unwrap());
}
