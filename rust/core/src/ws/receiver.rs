//! Taking apart what comes in.

use std::mem::take;

use super::head::{Head, Opcode, Role};
use super::mask::{MASK_SIZE, apply, unmasked};
use super::message::Message;
use super::{NOT_UTF8, Violation, close, protocol_error};

/// From this many received bytes on, room for the whole frame is made at once; a shorter start gets what it needs.
pub const TRUSTED_START: usize = 4096;

/// Which messages a [`Receiver`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Binary ones; a text message is refused with 1003.
    Binary,
    /// Both; text is checked to be UTF-8.
    Any,
}

/// What a [`Receiver`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A ping to be answered with its payload.
    Ping(Vec<u8>),
    /// The other side closes, with this code and reason if it gave one. Whatever comes after it is ignored.
    Close(Option<u16>, String),
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

/// What [`Receiver::scan`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan<T> {
    /// An event, as it was told.
    Told(T),
    /// The start of a frame or header that takes at least so many bytes. They may be many more than ever come.
    Need(usize),
    /// Everything was taken.
    Empty,
}

/// Takes the other side's bytes apart.
#[derive(Debug)]
pub struct Receiver {
    sender: Role,
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
    /// A receiver of what `sender` sends, in messages up to `max_message` bytes; a longer one is refused with 1009 by its header alone.
    #[must_use]
    pub const fn new(sender: Role, content: Content, max_message: usize) -> Self {
        Self {
            sender,
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
    /// that it may take more messages in one go with [`super::following`]; it returns how many more bytes it took.
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
                return match self.scan(input, visit) {
                    Scan::Told(told) => Some(told),
                    Scan::Empty => None,
                    Scan::Need(whole) => {
                        self.keep_start(input, whole);
                        *input = &[];
                        None
                    }
                };
            }
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

    /// As [`Receiver::next`], for callers that keep the start of a frame themselves: it stays in `input`, to be given
    /// again with what follows. Not to be mixed with [`Receiver::next`] and [`Receiver::keep`].
    pub fn scan<T>(&mut self, input: &mut &[u8], visit: &mut impl FnMut(Event<'_>, &[u8]) -> (usize, T)) -> Scan<T> {
        while self.state != State::Closed && !input.is_empty() {
            let data = *input;
            match self.step(data) {
                Step::Event(taken, event) => {
                    let behind = data.get(taken..).unwrap_or_default();
                    let (more, told) = visit(event, behind);
                    *input = behind.get(more..).unwrap_or_default();
                    return Scan::Told(told);
                }
                Step::Assembled(taken, is_text) => {
                    *input = data.get(taken..).unwrap_or_default();
                    return Scan::Told(self.tell_assembled(is_text, visit));
                }
                Step::Skip(taken) => *input = data.get(taken..).unwrap_or_default(),
                Step::Need(whole) => return Scan::Need(whole),
            }
        }
        *input = &[];
        Scan::Empty
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
        let head = match Head::read(data, self.sender) {
            Ok(head) => head,
            Err(Ok(whole)) => return Step::Need(whole),
            Err(Err(violation)) => return self.violation(violation),
        };
        if let State::Closing { skip } = &mut self.state {
            if head.opcode == Opcode::Close {
                self.state = State::Closed;
                return Step::Event(data.len(), Event::Close(None, String::new()));
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
            Opcode::Close => match close::read(&unmasked(head.mask, payload)) {
                Ok((code, reason)) => {
                    self.state = State::Closed;
                    Step::Event(data.len(), Event::Close(code, reason))
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
        apply(head.mask, fragments.get_mut(size..).unwrap_or_default());
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

/// Whether more bytes could make this UTF-8.
fn may_become_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}
