//! The receiving half of a WebSocket server (RFC 6455), and frames to send. No I/O, no extensions.
//!
//! A [`Receiver`] is given what comes in as slices and returns one [`Event`] after the other. It copies nothing but the
//! start of a frame whose rest has not come, messages in fragments, and control frames: whole messages are told as a
//! [`Message`], which lies in the slice or in the receiver.

use std::mem::{MaybeUninit, take};

/// Largest payload of a control frame in bytes (RFC 6455, 5.5).
pub const MAX_CONTROL_SIZE: usize = 125;
/// Largest header that [`write_header`] makes.
pub const MAX_SENT_HEADER_SIZE: usize = 10;

const MASK_SIZE: usize = 4;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const BINARY: u8 = 0x02;

/// From this many received bytes on, room for the whole frame is made at once; a shorter start gets what it needs.
const TRUSTED_START: usize = 4096;

/// What is wrong with what came in; the connection has to be closed with this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The close code.
    pub close_code: u16,
    /// A few words for people.
    pub reason: &'static str,
}

const fn protocol_error(reason: &'static str) -> Violation {
    Violation { close_code: 1002, reason }
}

/// Which messages a [`Receiver`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Binary ones; a text message is refused with 1003.
    Binary,
    /// Both; text is checked to be UTF-8.
    Any,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    fin: bool,
    opcode: Opcode,
    mask: [u8; MASK_SIZE],
    size: usize,
    payload_size: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Head {
    /// Read a header; `Err(Some(n))` when it has `n` bytes and fewer are there.
    fn read(data: &[u8]) -> Result<Self, Result<usize, Violation>> {
        let [first, second, rest @ ..] = data else { return Err(Ok(2)) };
        if first & RESERVED != 0 {
            return Err(Err(protocol_error("reserved bits are set")));
        }
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err(Err(protocol_error("unknown opcode"))),
        };
        if second & MASKED == 0 {
            return Err(Err(protocol_error("a client's frames are masked")));
        }
        let fin = first & FIN != 0;
        let short = second & !MASKED;
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if is_control && (!fin || usize::from(short) > MAX_CONTROL_SIZE) {
            return Err(Err(protocol_error("a control frame is whole and has at most 125 bytes")));
        }
        let (payload_size, rest, size) = match short {
            126 => {
                let (bytes, rest) = rest.split_first_chunk::<2>().ok_or(Ok(8))?;
                (u64::from(u16::from_be_bytes(*bytes)), rest, 8)
            }
            127 => {
                let (bytes, rest) = rest.split_first_chunk::<8>().ok_or(Ok(14))?;
                (u64::from_be_bytes(*bytes), rest, 14)
            }
            short => (u64::from(short), rest, 6),
        };
        let mask = *rest.first_chunk().ok_or(Ok(size))?;
        // Only now, so that nothing is told earlier when the header comes in one piece than when it comes in several.
        if (short == 126 && payload_size < 126) || (short == 127 && payload_size < 65_536) || payload_size >> 63 != 0 {
            return Err(Err(protocol_error("a length is written in the shortest form")));
        }
        Ok(Self { fin, opcode, mask, size, payload_size: usize::try_from(payload_size).unwrap_or(usize::MAX) })
    }

    fn payload<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        data.get(self.size..self.size.checked_add(self.payload_size)?)
    }
}

/// A whole message as it lies in memory: masked, or assembled from fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Text, which is checked to be UTF-8, or binary.
    pub is_text: bool,
    mask: [u8; MASK_SIZE],
    masked: &'a [u8],
}

impl Message<'_> {
    /// Bytes of the payload.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.masked.len()
    }

    /// Unmask the first bytes, as many as `front` has, and return it; `None` when the message is shorter.
    #[must_use]
    pub fn front<const N: usize>(&self) -> Option<[u8; N]> {
        let mut front = *self.masked.first_chunk::<N>()?;
        for (byte, key) in front.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= key;
        }
        Some(front)
    }

    /// The payload in a buffer of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        unmasked(self.mask, self.masked)
    }

    /// Bytes of this message as a frame to send.
    #[must_use]
    pub const fn wire_size(&self) -> usize {
        sent_header_size(self.masked.len()) + self.masked.len()
    }

    /// Write this message as an unmasked binary frame.
    pub fn write_frame(&self, writer: &mut Writer<'_>) {
        writer.put_header(self.masked.len());
        writer.put_unmasked(self.mask, self.masked);
    }
}

/// What a [`Receiver`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A ping to be answered with its payload.
    Ping(Vec<u8>),
    /// The other side closes, with this code if it gave one. Whatever comes after it is ignored.
    Close(Option<u16>),
    /// What came in breaks a rule.
    Violation(Violation),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Only the other side's close counts; so many bytes of a payload are still to be passed over.
    Closing {
        skip: usize,
    },
    /// Nothing counts any more.
    Closed,
}

/// Takes a client's bytes apart.
#[derive(Debug)]
pub struct Receiver {
    content: Content,
    max_message: usize,
    state: State,
    /// What came and was not taken: the start of a frame, or whole frames that were kept.
    kept: Vec<u8>,
    kept_from: usize,
    /// Unmasked fragments of a message whose last one has not come; a text or not.
    fragments: Option<(bool, Vec<u8>)>,
    /// The message that was told last, if it lies here.
    assembled: Vec<u8>,
}

enum Step<'a> {
    /// An event, and how many bytes it took.
    Event(usize, Event<'a>),
    /// The last fragment of a message came; so many bytes were taken, and it is a text or not.
    Assembled(usize, bool),
    /// Nothing to tell about so many bytes.
    Skip(usize),
    /// Nothing can be said before there are so many bytes.
    Need(usize),
}

impl Receiver {
    /// A receiver of messages up to `max_message` bytes; a longer one is refused with 1009 by its header alone.
    #[must_use]
    pub const fn new(content: Content, max_message: usize) -> Self {
        Self {
            content,
            max_message,
            state: State::Open,
            kept: Vec::new(),
            kept_from: 0,
            fragments: None,
            assembled: Vec::new(),
        }
    }

    /// Bytes this receiver holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.kept.capacity()
            + self.assembled.capacity()
            + self.fragments.as_ref().map_or(0, |(_, data)| data.capacity())
    }

    /// From now on ignore everything but the other side's close.
    pub fn close(&mut self) {
        if self.state == State::Open {
            self.state = State::Closing { skip: 0 };
            self.fragments = None;
        }
    }

    /// Return the next event, having taken bytes off the front of `input`; `None` when all is taken.
    ///
    /// Messages borrow from `input` or from the receiver. `visit` sees each with the bytes behind it in the same slice, so
    /// that it may take more messages in one go with [`Run`]; it returns how many more bytes it took.
    pub fn next<T>(&mut self, input: &mut &[u8], visit: &mut impl FnMut(Event<'_>, &[u8]) -> (usize, T)) -> Option<T> {
        loop {
            if self.state == State::Closed {
                *input = &[];
                self.kept = Vec::new();
                self.kept_from = 0;
                return None;
            }
            if self.kept_from == self.kept.len() {
                if self.kept_from > 0 {
                    self.kept = Vec::new();
                    self.kept_from = 0;
                }
                if input.is_empty() {
                    return None;
                }
                let data = *input;
                match self.step(data) {
                    Step::Event(taken, event) => {
                        let behind = data.get(taken..).unwrap_or_default();
                        let (more, told) = visit(event, behind);
                        *input = behind.get(more..).unwrap_or_default();
                        return Some(told);
                    }
                    Step::Assembled(taken, is_text) => {
                        *input = data.get(taken..).unwrap_or_default();
                        return Some(self.tell_assembled(is_text, visit));
                    }
                    Step::Skip(taken) => *input = data.get(taken..).unwrap_or_default(),
                    Step::Need(whole) => {
                        self.keep_start(data, whole);
                        *input = &[];
                        return None;
                    }
                }
            } else {
                let kept = take(&mut self.kept);
                let data = kept.get(self.kept_from..).unwrap_or_default();
                let mut told = None;
                let mut assembled = None;
                let mut missing = 0;
                match self.step(data) {
                    Step::Event(taken, event) => {
                        let (more, value) = visit(event, data.get(taken..).unwrap_or_default());
                        self.kept_from += taken + more;
                        told = Some(value);
                    }
                    Step::Assembled(taken, is_text) => {
                        self.kept_from += taken;
                        assembled = Some(is_text);
                    }
                    Step::Skip(taken) => self.kept_from += taken,
                    Step::Need(whole) => missing = whole - data.len(),
                }
                self.kept = kept;
                if told.is_some() {
                    return told;
                }
                if let Some(is_text) = assembled {
                    return Some(self.tell_assembled(is_text, visit));
                }
                if missing > 0 && !self.fill(missing, input) {
                    return None;
                }
            }
        }
    }

    /// Keep what was not taken for a later call of [`Receiver::next`].
    pub fn keep(&mut self, input: &[u8]) {
        if self.state == State::Closed || input.is_empty() {
            return;
        }
        self.drop_taken();
        self.kept.reserve_exact(input.len());
        self.kept.extend_from_slice(input);
    }

    fn tell_assembled<T>(&mut self, is_text: bool, visit: &mut impl FnMut(Event<'_>, &[u8]) -> (usize, T)) -> T {
        let assembled = take(&mut self.assembled);
        visit(Event::Message(Message { is_text, mask: [0; MASK_SIZE], masked: &assembled }), &[]).1
    }

    fn keep_start(&mut self, data: &[u8], whole: usize) {
        self.kept = Vec::with_capacity(if data.len() >= TRUSTED_START { whole } else { data.len() });
        self.kept.extend_from_slice(data);
    }

    /// Take `missing` bytes from `input` into what is kept; false when there are not as many.
    fn fill(&mut self, missing: usize, input: &mut &[u8]) -> bool {
        self.drop_taken();
        let (taken, rest) = input.split_at(missing.min(input.len()));
        if self.kept.len() + taken.len() >= TRUSTED_START {
            self.kept.reserve_exact(missing);
        }
        self.kept.extend_from_slice(taken);
        *input = rest;
        taken.len() == missing
    }

    fn drop_taken(&mut self) {
        if self.kept_from > 0 {
            self.kept.drain(..self.kept_from);
            self.kept_from = 0;
        }
    }

    fn step<'a>(&mut self, data: &'a [u8]) -> Step<'a> {
        if let State::Closing { skip } = &mut self.state
            && *skip > 0
        {
            let passed = (*skip).min(data.len());
            *skip -= passed;
            return Step::Skip(passed);
        }
        let head = match Head::read(data) {
            Ok(head) => head,
            Err(Ok(whole)) => return Step::Need(whole),
            Err(Err(violation)) => return self.violation(violation),
        };
        if let State::Closing { skip } = &mut self.state {
            if head.opcode == Opcode::Close {
                self.state = State::Closed;
                return Step::Event(data.len(), Event::Close(None));
            }
            *skip = head.payload_size;
            return Step::Skip(head.size);
        }
        if let Err(violation) = self.check(&head) {
            if violation.close_code == 1002 {
                return self.violation(violation);
            }
            // The frame is sound, only not wanted: what follows it can still be read.
            self.state = State::Closing { skip: head.payload_size };
            self.fragments = None;
            return Step::Event(head.size, Event::Violation(violation));
        }
        let Some(payload) = head.payload(data) else { return Step::Need(head.size + head.payload_size) };
        let taken = head.size + payload.len();
        match head.opcode {
            Opcode::Pong => Step::Skip(taken),
            Opcode::Ping => Step::Event(taken, Event::Ping(unmasked(head.mask, payload))),
            Opcode::Close => match close_code(&unmasked(head.mask, payload)) {
                Ok(code) => {
                    self.state = State::Closed;
                    Step::Event(data.len(), Event::Close(code))
                }
                Err(violation) => self.violation(violation),
            },
            Opcode::Binary if head.fin => {
                Step::Event(taken, Event::Message(Message { is_text: false, mask: head.mask, masked: payload }))
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => self.fragment(&head, payload, taken),
        }
    }

    fn check(&self, head: &Head) -> Result<(), Violation> {
        let so_far = match (head.opcode, &self.fragments) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Continuation, None) => return Err(protocol_error("there is no message to go on with")),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(protocol_error("a message is not finished yet")),
            (Opcode::Text, None) if self.content == Content::Binary => {
                return Err(Violation { close_code: 1003, reason: "binary messages only" });
            }
            (_, fragments) => fragments.as_ref().map_or(0, |(_, data)| data.len()),
        };
        if head.payload_size > self.max_message - so_far {
            return Err(Violation { close_code: 1009, reason: "the message is too long" });
        }
        Ok(())
    }

    fn fragment<'a>(&mut self, head: &Head, payload: &[u8], taken: usize) -> Step<'a> {
        let (is_text, fragments) = self.fragments.get_or_insert_with(|| (head.opcode == Opcode::Text, Vec::new()));
        let is_text = *is_text;
        let size = fragments.len();
        fragments.extend_from_slice(payload);
        unmask(head.mask, fragments.get_mut(size..).unwrap_or_default());
        if !head.fin {
            if is_text && !may_become_text(fragments) {
                return self.violation(NOT_UTF8);
            }
            return Step::Skip(taken);
        }
        let message = self.fragments.take().map(|(_, data)| data).unwrap_or_default();
        if is_text && std::str::from_utf8(&message).is_err() {
            return self.violation(NOT_UTF8);
        }
        self.assembled = message;
        Step::Assembled(taken, is_text)
    }

    fn violation<'a>(&mut self, violation: Violation) -> Step<'a> {
        self.state = State::Closed;
        self.fragments = None;
        Step::Event(0, Event::Violation(violation))
    }
}

const NOT_UTF8: Violation = Violation { close_code: 1007, reason: "text is UTF-8" };

/// Take another whole, unfragmented binary message off the front of `behind`, if `receiver`'s rules let one follow.
///
/// For callers that want several messages at once: it neither reads nor changes a receiver, so it may only be used behind
/// an unfragmented message that came in one frame, with the receiver's own limit.
#[must_use]
pub fn following(behind: &[u8], max_message: usize) -> Option<(Message<'_>, usize)> {
    let head = Head::read(behind).ok()?;
    if head.opcode != Opcode::Binary || !head.fin || head.payload_size > max_message {
        return None;
    }
    let masked = head.payload(behind)?;
    Some((Message { is_text: false, mask: head.mask, masked }, head.size + masked.len()))
}

/// Fills memory front to back.
#[derive(Debug)]
pub struct Writer<'a> {
    rest: &'a mut [MaybeUninit<u8>],
}

impl<'a> Writer<'a> {
    /// A writer of exactly this memory.
    pub const fn new(memory: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { rest: memory }
    }

    /// Whether every byte has been written.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.rest.is_empty()
    }

    fn put_header(&mut self, size: usize) {
        let mut header = [0; MAX_SENT_HEADER_SIZE];
        let used = write_header(BINARY, size, &mut header);
        self.put_unmasked([0; MASK_SIZE], header.get(..used).unwrap_or_default());
    }

    fn put_unmasked(&mut self, mask: [u8; MASK_SIZE], bytes: &[u8]) {
        let rest = take(&mut self.rest);
        // What does not fit is not written, and the memory then never counts as full.
        let Some((target, rest)) = rest.split_at_mut_checked(bytes.len()) else { return };
        self.rest = rest;
        let wide = widened(mask);
        let mut targets = target.chunks_exact_mut(wide.len());
        let mut sources = bytes.chunks_exact(wide.len());
        for (target, source) in (&mut targets).zip(&mut sources) {
            for ((target, source), key) in target.iter_mut().zip(source).zip(wide) {
                target.write(source ^ key);
            }
        }
        for ((target, source), key) in targets.into_remainder().iter_mut().zip(sources.remainder()).zip(wide) {
            target.write(source ^ key);
        }
    }
}

/// Write the header of an unmasked frame that is a whole message; return its size.
pub fn write_header(opcode: u8, size: usize, header: &mut [u8; MAX_SENT_HEADER_SIZE]) -> usize {
    let [first, second, long @ ..] = header;
    *first = FIN | opcode;
    if let Ok(short) = u8::try_from(size)
        && size <= MAX_CONTROL_SIZE
    {
        *second = short;
        return 2;
    }
    let [l0, l1, ..] = long;
    if let Ok(medium) = u16::try_from(size) {
        *second = 126;
        [*l0, *l1] = medium.to_be_bytes();
        return 4;
    }
    *second = 127;
    *long = (size as u64).to_be_bytes();
    MAX_SENT_HEADER_SIZE
}

const fn sent_header_size(size: usize) -> usize {
    match size {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => MAX_SENT_HEADER_SIZE,
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(protocol_error("half a close code")) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol_error("no such close code"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(NOT_UTF8);
    }
    Ok(Some(code))
}

/// Whether more bytes could make this UTF-8.
fn may_become_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

const fn widened(mask: [u8; MASK_SIZE]) -> [u8; 64] {
    let [a, b, c, d] = mask;
    [
        a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a,
        b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d,
    ]
}

fn unmask(mask: [u8; MASK_SIZE], bytes: &mut [u8]) {
    let wide = widened(mask);
    for chunk in bytes.chunks_mut(wide.len()) {
        for (byte, key) in chunk.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
}

fn unmasked(mask: [u8; MASK_SIZE], bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    unmask(mask, &mut bytes);
    bytes
}
