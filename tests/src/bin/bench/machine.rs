//! What the figures were measured on.

use std::fs;
use std::thread;

/// Processor, cores, memory, kernel, and how busy the machine was before: one line.
pub(crate) fn facts() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let unknown = || "unknown".to_owned();
    let processor = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown);
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_else(unknown);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "machine: {cores} cores, {processor}, {memory} memory, Linux {}, load before {load}",
        kernel.trim()
    )
}
