//! A proxy between a client and a server that keeps what the client sends, for tests of the wire.
//!
//! One file for each connection, `<name>-<number>.bin`: the bytes from the client to the server from the
//! first to the last, as they came. What the server says is passed on and not kept.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

/// Listens from now on, until the process ends; returns the port. Connections go on to `server_port`.
///
/// # Errors
/// What the system refuses.
pub fn record(folder: &Path, name: &str, server_port: u16) -> io::Result<u16> {
    fs::create_dir_all(folder)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let (folder, name) = (folder.to_owned(), name.to_owned());
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let path = folder.join(format!("{name}-{number:02}.bin"));
            // A client that cannot be served sees its connection end.
            let _ = client.and_then(|client| pass(client, server_port, File::create(path)?));
        }
    });
    Ok(port)
}

/// Passes one connection on, both ways.
fn pass(client: TcpStream, server_port: u16, kept: File) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(from_client, to_server, Some(kept)));
    thread::spawn(move || copy(server, client, None));
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream, mut kept: Option<File>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if let Some(kept) = &mut kept {
            kept.write_all(&bytes[..read]).expect("a file that grows");
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}
