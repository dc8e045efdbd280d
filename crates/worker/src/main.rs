//! `worker`.

fn main() -> anyhow::Result<()> {
    muster_worker::main()
}
