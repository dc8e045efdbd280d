//! The stand-in's HTTP server: answers every path, and notes every request that is not a GET.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use super::{Flags, record};

/// Serves from threads of their own, one per connection.
pub(super) fn start(flags: Flags, address: SocketAddr, started: Instant) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let flags = flags.clone();
            thread::spawn(move || serve(&flags, stream, started));
        }
    });
    Ok(())
}

fn serve(flags: &Flags, mut stream: TcpStream, started: Instant) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    // Whoever is stopped between connecting and asking has asked for nothing.
    let Some(request) = lines.next().transpose()? else { return Ok(()) };
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "GET" {
        record(flags, &format!("{method} {path}"))?;
    }
    let status = if started.elapsed() >= flags.ready_after { "200 OK" } else { "503 Service Unavailable" };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
