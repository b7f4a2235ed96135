//! The credit a receiver gives.

/// What the position of a data message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next bytes; they count as received.
    Next,
    /// Not the next, but inside what may be sent: dropped, as it comes again after a resume.
    Elsewhere,
    /// Past what may be sent: the sender ignores the window.
    Past,
}

/// The window of one direction of a stream, or of a session, on the side that receives.
///
/// It starts at one size and doubles while a full one is consumed within twice the smallest round trip seen, up to a
/// largest size: a receiver that reads slowly, or a short path, needs no more.
#[derive(Clone, Debug)]
pub struct ReceiveWindow {
    initial: u64,
    largest: u64,
    size: u64,
    received: u64,
    consumed: u64,
    limit: u64,
    /// When, and at which consumed offset, the full window began that is being measured.
    measured_from: (f64, u64),
    /// The limit that a sender could not pass before a credit reached it, and when that credit was given.
    awaited: Option<(u64, f64)>,
}

impl ReceiveWindow {
    /// A window at offset 0 that was told to the sender with the stream's first message, or is known beforehand.
    #[must_use]
    pub fn new(initial: u64, largest: u64, now: f64) -> Self {
        Self {
            initial,
            largest: largest.max(initial),
            size: initial,
            received: 0,
            consumed: 0,
            limit: initial,
            measured_from: (now, 0),
            awaited: Some((0, now)),
        }
    }

    /// Take in the position of a data message.
    ///
    /// Besides what it means comes the time since the credit was given that it needed, an upper bound of the round trip,
    /// when it is the first that could not have been sent without.
    pub fn arrive(&mut self, offset: u64, size: u64, now: f64) -> (Arrival, Option<f64>) {
        let Some(end) = offset.checked_add(size).filter(|end| *end <= self.limit) else {
            return (Arrival::Past, None);
        };
        if offset != self.received {
            return (Arrival::Elsewhere, None);
        }
        self.received = end;
        let round_trip = self.awaited.filter(|(before, _)| end > *before).map(|(_, since)| now - since);
        if round_trip.is_some() {
            self.awaited = None;
        }
        (Arrival::Next, round_trip)
    }

    /// The application has taken `size` more bytes. Returns the limit to tell the sender when it is worth a message: a
    /// quarter of the window has become free, or the window has grown.
    ///
    /// `round_trip` is the smallest seen; without one the window does not grow.
    pub fn consume(&mut self, size: u64, now: f64, round_trip: Option<f64>, may_grow: bool) -> Option<u64> {
        self.consumed = self.consumed.saturating_add(size).min(self.received);
        let (since, from) = self.measured_from;
        let mut grown = false;
        if self.consumed - from >= self.size {
            let quick = round_trip.is_some_and(|round_trip| now - since <= 2.0 * round_trip);
            if quick && may_grow && self.size < self.largest {
                self.size = self.size.saturating_mul(2).min(self.largest);
                grown = true;
            }
            self.measured_from = (now, self.consumed);
        }
        let limit = self.consumed.saturating_add(self.size);
        if limit <= self.limit || (!grown && limit - self.limit < self.size / 4) {
            return None;
        }
        if self.awaited.is_none() {
            self.awaited = Some((self.limit, now));
        }
        self.limit = limit;
        Some(limit)
    }

    /// Count `size` more bytes of a session, whatever their offsets; false when that is past the limit.
    pub fn count(&mut self, size: u64, now: f64) -> (bool, Option<f64>) {
        let (arrival, round_trip) = self.arrive(self.received, size, now);
        (arrival == Arrival::Next, round_trip)
    }

    /// What to tell the sender after a pause, whose messages may have been lost: nothing is awaited any more.
    pub fn renew(&mut self, now: f64) -> u64 {
        self.limit = self.limit.max(self.consumed.saturating_add(self.size));
        self.awaited = None;
        self.measured_from = (now, self.consumed);
        self.limit
    }

    /// Count anew from 0, as a session does after each resume, with the size it began with.
    pub fn restart(&mut self, now: f64) {
        *self = Self::new(self.initial, self.largest, now);
    }

    /// The offset of the next byte that is expected.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Up to where the application has taken bytes.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Up to where the sender may send.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that may be under way or waiting to be taken.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}
