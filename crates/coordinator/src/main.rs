//! `coordinator`.

fn main() -> anyhow::Result<()> {
    muster_coordinator::main()
}
