//! nginx' command lines.

use crate::files;

/// The arguments that run nginx in the foreground with `prefix` (an absolute path) as its directory and
/// [`files::CONFIG`] as its document. `root` says whether the process will run as root.
#[must_use]
pub fn arguments(prefix: &str, root: bool) -> Vec<String> {
    command(&[], prefix, root, files::CONFIG)
}

/// The arguments that check the document `conf` (a path relative to `prefix`) and exit: code 0 when nginx would take
/// it, else the reason is on standard error. Needs the same directories and TLS files as a start.
#[must_use]
pub fn check_arguments(prefix: &str, root: bool, conf: &str) -> Vec<String> {
    command(&["-t", "-q"], prefix, root, conf)
}

fn command(first: &[&str], prefix: &str, root: bool, conf: &str) -> Vec<String> {
    // Workers of a root master would run as `nobody`, who cannot enter a directory that only its owner may read.
    let globals = if root { "daemon off; user root;" } else { "daemon off;" };
    let prefix = format!("{}/", prefix.trim_end_matches('/'));
    // Without -e, nginx first opens the log that was compiled in, which may need root.
    let rest = ["-e", "stderr", "-p", &prefix, "-c", conf, "-g", globals];
    first.iter().copied().chain(rest).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut run = words("-e stderr -p /m/u/ -c nginx.conf -g");
        run.push("daemon off;".to_owned());
        assert_eq!(arguments("/m/u", false), run);
        assert_eq!(arguments("/m/u//", false), run);
        assert_eq!(arguments("/m/u", true).last().unwrap(), "daemon off; user root;");
        assert_eq!(check_arguments("/m/u", false, "next.conf")[..2], words("-t -q"));
        assert!(check_arguments("/m/u", false, "next.conf").contains(&"next.conf".to_owned()));
    }
}
