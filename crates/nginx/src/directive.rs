//! The document: a tree of directives, and its writer.
//!
//! Directives are a closed set: what is not in [`Name`] (`include`, `load_module`, `perl` …) cannot be written. There is
//! no free text either: every argument is quoted where it needs to be, so none can end its directive. Quoting does not
//! stop nginx from replacing `$name` in the arguments where it looks for variables; what comes from outside stands
//! only where it does not (locations), or cannot hold a `$` ([`Server`](crate::Server), roles).

use std::borrow::Cow;
use std::fmt;

/// An nginx document. `Display` writes it; it ends with a line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(pub(crate) Vec<Directive>);

/// One directive: name, arguments, and for some a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) name: Name,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) block: Option<Block>,
}

/// One argument. Most are the same in every document.
pub(crate) type Argument = Cow<'static, str>;

/// What stands between the braces of a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Block {
    /// Other directives.
    Directives(Vec<Directive>),
    /// The cases of a `map`: pattern and value.
    Cases(Vec<(Argument, Argument)>),
}

macro_rules! names {
    ($($variant:ident = $name:literal,)*) => {
        /// The directives that a document can hold.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Name { $($variant,)* }

        impl Name {
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

names! {
    AccessLog = "access_log",
    AddHeader = "add_header",
    Allow = "allow",
    ClientBodyBufferSize = "client_body_buffer_size",
    ClientBodyTempPath = "client_body_temp_path",
    ClientMaxBodySize = "client_max_body_size",
    DefaultType = "default_type",
    Deny = "deny",
    ErrorLog = "error_log",
    Events = "events",
    FastcgiTempPath = "fastcgi_temp_path",
    GrpcConnectTimeout = "grpc_connect_timeout",
    GrpcNextUpstream = "grpc_next_upstream",
    GrpcNextUpstreamTimeout = "grpc_next_upstream_timeout",
    GrpcNextUpstreamTries = "grpc_next_upstream_tries",
    GrpcPass = "grpc_pass",
    GrpcReadTimeout = "grpc_read_timeout",
    GrpcSendTimeout = "grpc_send_timeout",
    GrpcSetHeader = "grpc_set_header",
    Http = "http",
    If = "if",
    Keepalive = "keepalive",
    KeepaliveTimeout = "keepalive_timeout",
    LargeClientHeaderBuffers = "large_client_header_buffers",
    Listen = "listen",
    Location = "location",
    Map = "map",
    Pid = "pid",
    ProxyBufferSize = "proxy_buffer_size",
    ProxyBuffering = "proxy_buffering",
    ProxyConnectTimeout = "proxy_connect_timeout",
    ProxyHttpVersion = "proxy_http_version",
    ProxyNextUpstream = "proxy_next_upstream",
    ProxyNextUpstreamTimeout = "proxy_next_upstream_timeout",
    ProxyNextUpstreamTries = "proxy_next_upstream_tries",
    ProxyPass = "proxy_pass",
    ProxyReadTimeout = "proxy_read_timeout",
    ProxyRequestBuffering = "proxy_request_buffering",
    ProxySendTimeout = "proxy_send_timeout",
    ProxySetHeader = "proxy_set_header",
    ProxyTempPath = "proxy_temp_path",
    Return = "return",
    Root = "root",
    ScgiTempPath = "scgi_temp_path",
    Server = "server",
    ServerTokens = "server_tokens",
    SslCertificate = "ssl_certificate",
    SslCertificateKey = "ssl_certificate_key",
    SslProtocols = "ssl_protocols",
    StubStatus = "stub_status",
    Upstream = "upstream",
    UwsgiTempPath = "uwsgi_temp_path",
    WorkerConnections = "worker_connections",
    WorkerProcesses = "worker_processes",
    WorkerRlimitNofile = "worker_rlimit_nofile",
    WorkerShutdownTimeout = "worker_shutdown_timeout",
}

impl Directive {
    /// A directive that ends with `;`.
    pub(crate) fn simple<A: Into<Argument>>(name: Name, arguments: impl IntoIterator<Item = A>) -> Self {
        Self { name, arguments: arguments.into_iter().map(Into::into).collect(), block: None }
    }

    /// A directive without arguments, with other directives between braces.
    pub(crate) fn block(name: Name, block: Vec<Self>) -> Self {
        Self::with::<&'static str>(name, [], block)
    }

    /// A directive with arguments, and other directives between braces.
    pub(crate) fn with<A: Into<Argument>>(
        name: Name,
        arguments: impl IntoIterator<Item = A>,
        block: Vec<Self>,
    ) -> Self {
        Self { block: Some(Block::Directives(block)), ..Self::simple(name, arguments) }
    }

    /// A `map` that gives `target` a value by the value of `source`. Cases are literal; a leading `~*` makes one a
    /// regular expression that ignores case.
    pub(crate) fn map(
        source: &'static str,
        target: &'static str,
        cases: &[(&'static str, &'static str)],
    ) -> Self {
        let cases = cases.iter().map(|(pattern, value)| (Cow::Borrowed(*pattern), Cow::Borrowed(*value)));
        Self { block: Some(Block::Cases(cases.collect())), ..Self::simple(Name::Map, [source, target]) }
    }

    fn write(&self, text: &mut String, depth: usize) {
        indent(text, depth);
        text.push_str(self.name.as_str());
        for argument in &self.arguments {
            text.push(' ');
            write_word(text, argument);
        }
        match &self.block {
            None => {
                text.push_str(";\n");
                return;
            }
            Some(Block::Directives(directives)) => {
                text.push_str(" {\n");
                for directive in directives {
                    directive.write(text, depth + 1);
                }
            }
            Some(Block::Cases(cases)) => {
                text.push_str(" {\n");
                for (pattern, value) in cases {
                    indent(text, depth + 1);
                    write_word(text, pattern);
                    text.push(' ');
                    write_word(text, value);
                    text.push_str(";\n");
                }
            }
        }
        indent(text, depth);
        text.push_str("}\n");
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(16 << 10);
        for directive in &self.0 {
            directive.write(&mut text, 0);
        }
        f.write_str(&text)
    }
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("    ");
    }
}

/// Writes one word, in quotes unless all of it is plain.
fn write_word(text: &mut String, word: &str) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@*$()[]^~%".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        text.push_str(word);
        return;
    }
    text.push('"');
    for c in word.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What nginx' own tokenizer (`ngx_conf_read_token`) makes of a text: words, and what follows them.
    #[derive(Debug, PartialEq)]
    struct Parsed {
        words: Vec<String>,
        block: Option<Vec<Parsed>>,
    }

    /// Reads lines up to the end of the block. Panics where nginx would refuse the text.
    fn parse(text: &mut std::iter::Peekable<std::str::Chars<'_>>, depth: usize) -> Vec<Parsed> {
        let mut lines = Vec::new();
        let mut words = Vec::new();
        loop {
            match text.next() {
                None => {
                    assert!(depth == 0 && words.is_empty(), "unexpected end of file");
                    return lines;
                }
                Some(' ' | '\t' | '\r' | '\n') => {}
                Some('#') => while text.next().is_some_and(|c| c != '\n') {},
                Some(';') => {
                    assert!(!words.is_empty(), "unexpected ;");
                    lines.push(Parsed { words: std::mem::take(&mut words), block: None });
                }
                Some('{') => {
                    assert!(!words.is_empty(), "unexpected {{");
                    let block = Some(parse(text, depth + 1));
                    lines.push(Parsed { words: std::mem::take(&mut words), block });
                }
                Some('}') => {
                    assert!(depth > 0 && words.is_empty(), "unexpected }}");
                    return lines;
                }
                Some(quote @ ('"' | '\'')) => {
                    words.push(quoted(text, quote));
                    let next = text.peek();
                    assert!(
                        next.is_some_and(|c| " \t\r\n;{)".contains(*c)),
                        "unexpected {next:?} after a quoted word"
                    );
                }
                Some(first) => {
                    let mut word = String::from(first);
                    let mut variable = first == '$';
                    while let Some(c) = text.next_if(|c| !" \t\r\n;".contains(*c) && (*c != '{' || variable))
                    {
                        assert_ne!(c, '\\', "plain words have no escapes");
                        variable = c == '$';
                        word.push(c);
                    }
                    words.push(word);
                }
            }
        }
    }

    fn quoted(text: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) -> String {
        let mut word = String::new();
        loop {
            match text.next().expect("unexpected end of file in a quoted word") {
                c if c == quote => return word,
                '\\' => match text.next().expect("unexpected end of file after a backslash") {
                    c @ ('"' | '\'' | '\\') => word.push(c),
                    't' => word.push('\t'),
                    'r' => word.push('\r'),
                    'n' => word.push('\n'),
                    other => word.extend(['\\', other]),
                },
                c => word.push(c),
            }
        }
    }

    fn expected(directives: &[Directive]) -> Vec<Parsed> {
        let line = |directive: &Directive| Parsed {
            words: std::iter::once(directive.name.as_str().to_owned())
                .chain(directive.arguments.iter().map(ToString::to_string))
                .collect(),
            block: directive.block.as_ref().map(|block| match block {
                Block::Directives(directives) => expected(directives),
                Block::Cases(cases) => cases
                    .iter()
                    .map(|(pattern, value)| Parsed {
                        words: vec![pattern.to_string(), value.to_string()],
                        block: None,
                    })
                    .collect(),
            }),
        };
        directives.iter().map(line).collect()
    }

    fn hostile() -> impl Strategy<Value = Argument> {
        let text = prop_oneof![
            any::<String>(),
            "[ \t\r\n;{}\"'\\\\#$()a~=]{0,12}",
            Just("a;} server{listen 81;".to_owned()),
            Just("${x}".to_owned()),
            Just("a\\".to_owned()),
            Just("\0".to_owned()),
            "[a-z0-9/.:]{1,8}",
        ];
        text.prop_map(Argument::from)
    }

    fn directive() -> impl Strategy<Value = Directive> {
        let name = || (0..Name::ALL.len()).prop_map(|i| Name::ALL[i]);
        let words = || proptest::collection::vec(hostile(), 0..4);
        let simple =
            (name(), words()).prop_map(|(name, arguments)| Directive { name, arguments, block: None });
        let cases = (name(), words(), proptest::collection::vec((hostile(), hostile()), 0..4)).prop_map(
            |(name, arguments, cases)| Directive { name, arguments, block: Some(Block::Cases(cases)) },
        );
        prop_oneof![3 => simple, 1 => cases].prop_recursive(3, 24, 4, move |inner| {
            (name(), words(), proptest::collection::vec(inner, 0..4)).prop_map(|(name, arguments, block)| {
                Directive { name, arguments, block: Some(Block::Directives(block)) }
            })
        })
    }

    proptest! {
        #[test]
        fn the_text_reads_back_as_the_same_tree(tree in proptest::collection::vec(directive(), 0..4)) {
            let text = Document(tree.clone()).to_string();
            prop_assert_eq!(parse(&mut text.chars().peekable(), 0), expected(&tree), "{}", text);
        }
    }

    #[test]
    fn words_are_quoted_where_needed() {
        let line =
            |argument: &'static str| Document(vec![Directive::simple(Name::Root, [argument])]).to_string();
        assert_eq!(line("run/a-1"), "root run/a-1;\n");
        assert_eq!(line(""), "root \"\";\n");
        assert_eq!(line("a;} x {"), "root \"a;} x {\";\n");
        assert_eq!(line("\"\\\n"), "root \"\\\"\\\\\\n\";\n");
        assert_eq!(line("${x}"), "root \"${x}\";\n");
    }

    #[test]
    #[should_panic(expected = "unexpected")]
    fn the_reader_of_these_tests_refuses_broken_text() {
        parse(&mut "root \"a\"b;".chars().peekable(), 0);
    }
}
