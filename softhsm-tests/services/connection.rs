//! One connection of the proxy: request after request, each answered well or badly.

use std::{
    io::{self, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use crate::{
    http::{Request, Response},
    proxy::{Connecting, Fault, Shared},
    sys, tls,
};

/// Longer than any test: what stalls is woken when its time comes.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// What is written at once of a long body.
const PART: [u8; 16 << 10] = [b' '; 16 << 10];

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// What becomes of a connection behind an answer.
enum Next {
    Request,
    Close,
    Reset,
}

/// Serves a connection until it ends.
pub(crate) fn serve(shared: &Shared, stream: TcpStream) {
    let Ok(socket) = stream.try_clone() else {
        return;
    };
    match shared.connecting() {
        Connecting::Serve => {}
        Connecting::Stall => {
            shared.wait(FOR_EVER);
            return;
        }
        Connecting::Reset => {
            sys::reset_on_close(&socket);
            return;
        }
    }
    let _ = stream.set_nodelay(true);
    let stream: Box<dyn Stream> = match &shared.tls {
        None => Box::new(stream),
        Some(context) => {
            let Some(stream) = tls::accept(context, stream) else {
                let_go(&socket);
                return;
            };
            shared.shook_hands();
            Box::new(stream)
        }
    };
    let mut stream = BufReader::new(stream);
    while let Ok(Some(request)) = Request::read(&mut stream) {
        match answer(shared, &request, stream.get_mut()) {
            Ok(Next::Request) => {}
            Ok(Next::Reset) => {
                sys::reset_on_close(&socket);
                return;
            }
            Ok(Next::Close) | Err(_) => return,
        }
    }
}

/// Ends a connection so that the other side can read what was said last: what it has sent meanwhile is read too, because the kernel
/// would answer that with a reset.
fn let_go(socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
    let mut part = [0; 4096];
    let mut socket = socket;
    while let Ok(1..) = socket.read(&mut part) {}
}

fn answer(shared: &Shared, request: &Request, to: &mut dyn Stream) -> io::Result<Next> {
    let fault = shared.received(request);
    match fault {
        Some(Fault::Stall) => {
            shared.wait(FOR_EVER);
            return Ok(Next::Close);
        }
        Some(Fault::Answer(response)) => {
            to.write_all(&whole(&response, false))?;
            return Ok(Next::Request);
        }
        _ => {}
    }
    let response = shared.backend.answer(request)?;
    let Some(fault) = fault else {
        let close = request
            .header("Connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        to.write_all(&whole(&response, close))?;
        return Ok(if close { Next::Close } else { Next::Request });
    };
    bad_answer(shared, &response, &fault, to)
}

fn bad_answer(
    shared: &Shared,
    response: &Response,
    fault: &Fault,
    to: &mut dyn Stream,
) -> io::Result<Next> {
    match fault {
        Fault::Answer(_) | Fault::Stall | Fault::Close => return Ok(Next::Close),
        Fault::Delay(time) => {
            shared.wait(*time);
            to.write_all(&whole(response, false))?;
            return Ok(Next::Request);
        }
        Fault::Called(media_type) => {
            let called = Response {
                body: response.body.clone(),
                ..Response::new(response.status, media_type, "")
            };
            to.write_all(&whole(&called, false))?;
            return Ok(Next::Request);
        }
        Fault::Truncate(length) => {
            let whole = whole(response, false);
            let missing = response.body.len().saturating_sub(*length);
            to.write_all(&whole[..whole.len() - missing])?;
        }
        Fault::Long(length) => {
            to.write_all(&response.head(&format!("Content-Length: {length}\r\n"), false))?;
            let mut left = *length;
            while left > 0 {
                let part = left.min(PART.len() as u64);
                to.write_all(&PART[..usize::try_from(part).expect("a part")])?;
                left -= part;
            }
            return Ok(Next::Request);
        }
        Fault::Endless => {
            to.write_all(&response.head("Transfer-Encoding: chunked\r\n", false))?;
            loop {
                to.write_all(format!("{:x}\r\n", PART.len()).as_bytes())?;
                to.write_all(&PART)?;
                to.write_all(b"\r\n")?;
            }
        }
        Fault::Drip(time) => {
            for byte in whole(response, false) {
                to.write_all(&[byte])?;
                if !shared.wait(*time) {
                    return Ok(Next::Close);
                }
            }
            return Ok(Next::Request);
        }
        Fault::Reset => {
            let whole = whole(response, false);
            to.write_all(&whole[..whole.len() - response.body.len() / 2 - 1])?;
            // What was sent shall arrive before the reset does.
            shared.wait(Duration::from_millis(50));
            return Ok(Next::Reset);
        }
        Fault::CloseAfter => to.write_all(&whole(response, false))?,
        Fault::Garbage => to.write_all(b"SSH-2.0-something else\r\n\r\n")?,
    }
    Ok(Next::Close)
}

/// An answer as it goes over the wire.
fn whole(response: &Response, close: bool) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n", response.body.len());
    let mut whole = response.head(&length, close);
    whole.extend_from_slice(&response.body);
    whole
}
