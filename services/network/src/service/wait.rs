use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use config::IfName;
use tokio::net::UnixStream;

use super::Service;
use crate::kernel::Ring;
use crate::net::Solicitation;
use crate::news::News;

/// What ended the wait.
pub(super) enum Event {
    DhcpPacket {
        link: IfName,
        packet: io::Result<Vec<u8>>,
    },
    News(News),
    Rings(Vec<Ring>),
    Shutdown,
    Solicitation {
        link: IfName,
        solicitation: io::Result<Solicitation>,
    },
    Time,
}

/// Waits for the first of all that can happen. One event is taken at a time, and time is looked at
/// before each wait, so that no flood of packets keeps a timer or the watchdog waiting.
pub(super) async fn next(service: &mut Service, shutdown: &UnixStream, deadline: Instant) -> Event {
    let mut sleep = pin!(tokio::time::sleep_until(deadline.into()));
    poll_fn(|context| {
        if shutdown.poll_read_ready(context).is_ready() {
            return Poll::Ready(Event::Shutdown);
        }
        if sleep.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Time);
        }
        // Without a store there is none, and when its thread is gone none comes any more.
        if let Some(news) = &mut service.news
            && let Poll::Ready(Some(news)) = news.poll_recv(context)
        {
            return Poll::Ready(Event::News(news));
        }
        if let Poll::Ready((link, packet)) = service.leases.poll_packet(context) {
            return Poll::Ready(Event::DhcpPacket { link, packet });
        }
        if let Poll::Ready((link, solicitation)) = service.advertising.poll_solicitation(context) {
            return Poll::Ready(Event::Solicitation { link, solicitation });
        }
        service.doorbell.poll_rings(context).map(Event::Rings)
    })
    .await
}
