//! The stand-in's flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::ms;

/// How a stand-in behaves. Without any: it runs until a signal asks it to end, then ends at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen ADDRESS:PORT`: serves HTTP.
    pub listen: Option<SocketAddr>,
    /// `--ready-after MS`: answers 503 before.
    pub ready_after: Duration,
    /// `--ring NAME[,NAME]`: shows a ring with these names, and forgets those that it is told to.
    pub ring: Vec<String>,
    /// `--services TEXT`: what the page of a product's services says.
    pub services: String,
    /// `--stop-after MS`: how long it takes to end once asked.
    pub stop_after: Duration,
    /// `--ignore-signals`: notes them, and does not end.
    pub ignore_signals: bool,
    /// `--die MS CODE`: ends by itself.
    pub die: Option<(Duration, u8)>,
    /// `--grandchildren N`: starts children that sleep.
    pub grandchildren: u32,
    /// `--daemon`: starts one that leaves the process group.
    pub daemon: bool,
    /// `--orphans N`: makes orphans that end soon.
    pub orphans: u32,
    /// `--lines N`: writes numbered lines first.
    pub lines: u32,
    /// `--flood`: writes lines as fast as it can.
    pub flood: bool,
    /// `--chat MS`: writes a line of 4 KiB from time to time, and ends at once where it cannot, as a server written in Go does.
    pub chat: Option<Duration>,
    /// `--endless-line`: writes to standard error without any line break.
    pub endless_line: bool,
    /// `--record FILE`: appends what happens to it.
    pub record: Option<PathBuf>,
    /// `-modules`: Mimir's offline check.
    pub check: bool,
    /// `-config.file=FILE`: Mimir's config.
    pub config: Option<PathBuf>,
}

impl Flags {
    /// Reads flags. What is not a flag of the stand-in is ignored.
    ///
    /// # Errors
    /// A flag's value is missing or is not of its kind.
    pub fn parse(words: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let mut flags = Self::default();
        let mut words = words.into_iter();
        while let Some(flag) = words.next() {
            let mut value = || words.next().with_context(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--listen" => flags.listen = Some(value()?.parse()?),
                "--ready-after" => flags.ready_after = ms(value()?.parse()?),
                "--ring" => flags.ring = value()?.split(',').map(str::to_owned).collect(),
                "--services" => flags.services = value()?,
                "--stop-after" => flags.stop_after = ms(value()?.parse()?),
                "--ignore-signals" => flags.ignore_signals = true,
                "--die" => flags.die = Some((ms(value()?.parse()?), value()?.parse()?)),
                "--grandchildren" => flags.grandchildren = value()?.parse()?,
                "--daemon" => flags.daemon = true,
                "--orphans" => flags.orphans = value()?.parse()?,
                "--lines" => flags.lines = value()?.parse()?,
                "--flood" => flags.flood = true,
                "--chat" => flags.chat = Some(ms(value()?.parse()?)),
                "--endless-line" => flags.endless_line = true,
                "--record" => flags.record = Some(value()?.into()),
                "-modules" => flags.check = true,
                other => {
                    if let Some(path) = other.strip_prefix("-config.file=") {
                        flags.config = Some(path.into());
                    }
                }
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_among_a_products_arguments() {
        let words = "-config.file=a.yaml -target=ingester --die 20 3 --listen 127.0.0.1:80 -modules --flood";
        let flags = Flags::parse(words.split(' ').map(str::to_owned)).unwrap();
        let expected = Flags {
            listen: Some("127.0.0.1:80".parse().unwrap()),
            die: Some((ms(20), 3)),
            flood: true,
            check: true,
            config: Some("a.yaml".into()),
            ..Flags::default()
        };
        assert_eq!(flags, expected);
        assert!(Flags::parse(["--die".to_owned(), "x".to_owned()]).is_err());
    }
}
