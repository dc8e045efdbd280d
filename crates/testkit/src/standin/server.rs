//! The stand-in's HTTP server: answers every path, and notes every request that is not a GET.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::{Flags, record};

/// The names that have a place in the ring.
type Places = Arc<Mutex<BTreeSet<String>>>;

/// Serves from threads of their own, one per connection.
pub(super) fn start(flags: Flags, address: SocketAddr, started: Instant) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let places: Places = Arc::new(Mutex::new(flags.ring.iter().cloned().collect()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (flags, places) = (flags.clone(), Arc::clone(&places));
            thread::spawn(move || serve(&flags, stream, started, &places));
        }
    });
    Ok(())
}

fn serve(flags: &Flags, mut stream: TcpStream, started: Instant, places: &Places) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    let mut request = String::new();
    // Whoever is stopped between connecting and asking has asked for nothing.
    if reader.read_line(&mut request)? == 0 {
        return Ok(());
    }
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim_end().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "GET" {
        record(flags, format!("{method} {path} {body}").trim_end())?;
    }
    let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, answer) = match (method, body.strip_prefix("forget=")) {
        _ if started.elapsed() < flags.ready_after => ("503 Service Unavailable", String::new()),
        // The products show the page again then.
        ("POST", Some(name)) => {
            places.remove(name);
            ("302 Found", String::new())
        }
        ("GET", _) if path.ends_with("/ring") => {
            let shards: Vec<_> = places.iter().map(|name| json!({"id": name, "state": "ACTIVE"})).collect();
            ("200 OK", json!({ "shards": shards }).to_string())
        }
        ("GET", _) if path.ends_with("/services") => ("200 OK", flags.services.clone()),
        _ => ("200 OK", String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}
