//! Takes replies in the place of Postfix, keeps none of them, and counts.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Listens until the test's process ends, and counts the messages taken.
pub fn listen(at: SocketAddr) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(at).expect("a port");
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let counted = counted.clone();
            // A session ends as its client does.
            thread::spawn(move || drop(attend(&stream.expect("a client"), &counted)));
        }
    });
    taken
}

fn attend(stream: &TcpStream, taken: &AtomicUsize) -> std::io::Result<()> {
    let say = |line: &str| (&*stream).write_all(format!("{line}\r\n").as_bytes());
    say("220 sink.example ESMTP")?;
    let mut is_content = false;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        match line.get(..4).map(str::to_ascii_uppercase).as_deref() {
            _ if is_content && line != "." => {}
            _ if is_content => {
                is_content = false;
                taken.fetch_add(1, Ordering::Relaxed);
                say("250 2.0.0 Ok: queued as SINK")?;
            }
            Some("DATA") => {
                is_content = true;
                say("354 go on")?;
            }
            Some("QUIT") => return say("221 2.0.0 bye"),
            _ => say("250 2.1.0 Ok")?,
        }
    }
    Ok(())
}
