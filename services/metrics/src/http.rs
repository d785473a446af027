//! HTTP: one page, few connections, short patience.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::collect::Collector;
use crate::page::{Format, Page};

/// Connections at a time; a further one is closed at once.
const CONNECTIONS_MAX: usize = 8;
/// A request's head has to be there within this time …
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// … and everything has to be over within this.
const DEADLINE: Duration = Duration::from_secs(15);
/// The longest head that is read.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Two scrapers that ask within this time get the same page.
const FRESH: Duration = Duration::from_secs(1);

/// Answers requests. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    places: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    collector: Collector,
    last: Option<(Instant, Arc<Page>)>,
}

impl Server {
    pub(crate) fn new(collector: Collector) -> Self {
        Self {
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            state: Arc::new(Mutex::new(State {
                collector,
                last: None,
            })),
        }
    }

    /// Serves one connection in a task of its own, or closes it where there are too many.
    pub(crate) fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            tracing::debug!("too many connections");
            return;
        };
        let server = self.clone();
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(&request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .max_buf_size(HEAD_MAX_BYTES)
                // A scraper comes every 15 s or so: a place is worth more than a handshake.
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(DEADLINE, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection failed"),
                Err(_) => tracing::debug!("a client was too slow"),
            }
        });
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.page(request).await,
            (&Method::GET | &Method::HEAD, "/") => {
                text(StatusCode::OK, "x0tta6bl4 OS: see /metrics\n")
            }
            (&Method::GET | &Method::HEAD, _) => {
                text(StatusCode::NOT_FOUND, "There is nothing but /metrics.\n")
            }
            _ => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
                let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(ALLOW, allowed);
                response
            }
        }
    }

    async fn page(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let accept = request.headers().get_all(ACCEPT).into_iter();
        let wants_open_metrics = accept
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains("application/openmetrics-text"));
        let format = match wants_open_metrics {
            true => Format::OpenMetrics,
            false => Format::Text,
        };
        let state = Arc::clone(&self.state);
        let rendered = tokio::task::spawn_blocking(move || fresh(&state).render(format)).await;
        let Ok(rendered) = rendered else {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The page failed; see the log.\n",
            );
        };
        let mut response = text(StatusCode::OK, rendered);
        let kind = hyper::header::HeaderValue::from_static(format.content_type());
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

fn fresh(state: &Mutex<State>) -> Arc<Page> {
    // A panic while collecting leaves counters and an old page behind: both are usable.
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((when, page)) = &state.last
        && when.elapsed() < FRESH
    {
        return Arc::clone(page);
    }
    let page = Arc::new(state.collector.collect());
    state.last = Some((Instant::now(), Arc::clone(&page)));
    page
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
