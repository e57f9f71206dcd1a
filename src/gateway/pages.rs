//! The pages on the loopback port: `/metrics` for Prometheus, `/healthz` and
//! `/readyz` for probes. A slow or hostile client costs this port little, and mail
//! nothing. Knows HTTP, and nothing of the pages' content.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, yield_now},
    time::{sleep, timeout},
};

use super::{
    health::{Diagnosis, Health},
    metrics::Metrics,
};

/// Connections at a time, each with a header and an answer in memory. A further
/// one ends the oldest.
const CONNECTIONS: usize = 128;

/// The time in which a client must send its request's header.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// The longest that a connection lasts, whatever its client does.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Memory limit of a request's header.
const HEADER_BYTES: usize = 16 * 1024;

/// Pause after a failed accept. The usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

#[derive(Clone)]
pub(super) struct Pages {
    pub(super) metrics: Metrics,
    pub(super) health: Health,
}

impl Pages {
    /// Serves the pages for ever, one request a connection.
    pub(super) async fn serve(self, listener: TcpListener) {
        let mut open = VecDeque::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    make_room(&mut open);
                    let attended = tokio::spawn(self.clone().attend(stream));
                    open.push_back(attended.abort_handle());
                    // Lets this connection answer a request that is there already,
                    // before the next connection can end it.
                    yield_now().await;
                }
                Err(error) => {
                    tracing::error!(%error, "can't accept a connection for metrics; trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn attend(self, stream: TcpStream) {
        let answer = service_fn(|request: Request<Incoming>| {
            let page = self.page(request.method(), request.uri().path());
            async { Ok::<_, Infallible>(page) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(HEADER_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), answer);
        match timeout(CONNECTION_TIME, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "connection for metrics failed"),
            Err(_) => tracing::debug!("connection for metrics lasted too long"),
        }
    }

    fn page(&self, method: &Method, path: &str) -> Response<String> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(ALLOW, allowed);
            return refusal;
        }
        match path {
            "/metrics" => response(StatusCode::OK, METRICS, self.metrics.page()),
            "/healthz" => probed(&self.health.alive()),
            "/readyz" => probed(&self.health.ready()),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /metrics, /healthz and /readyz",
            ),
        }
    }
}

/// Ends the oldest connection if all are in use. An honest client's lasts
/// milliseconds, so that the oldest belongs to a slow client.
fn make_room(open: &mut VecDeque<AbortHandle>) {
    open.retain(|connection| !connection.is_finished());
    if open.len() >= CONNECTIONS
        && let Some(oldest) = open.pop_front()
    {
        oldest.abort();
    }
}

fn probed(diagnosis: &Diagnosis) -> Response<String> {
    let status = match diagnosis.is_good {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, &diagnosis.lines.join("\n"))
}

fn text(status: StatusCode, text: &str) -> Response<String> {
    response(status, TEXT, format!("{text}\n"))
}

fn response(status: StatusCode, content_type: HeaderValue, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
