//! The handshake and the records of direct sessions.

use std::sync::{Mutex, TryLockError};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sideband_backend::Cipher;
use sideband_core::noise::{
    self, Handshake, KeyPair, LENGTH_SIZE, MAX_RECORD, NoiseError, RECORD_OVERHEAD, RecordReader, RecordType,
    RekeyAfter, Role, SEALED, WIRE_OVERHEAD, establish_with,
};

use crate::buffer::{Gathered, Input, gathered, inputs};
use crate::error::{Failure, not_picklable};
use crate::identity::{random_key, secret_key};
use crate::lock::{with_lock, with_lock_released};
use crate::output::Output;
use crate::session::RELEASE_THRESHOLD;

type Sealer = noise::Sealer<Cipher>;
type Opener = noise::Opener<Cipher>;

#[pyclass(frozen, module = "sideband._native")]
pub struct NoiseKeyPair(KeyPair);

#[pymethods]
impl NoiseKeyPair {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Ok(Self(KeyPair::from_private_bytes(&*random_key()?)))
    }

    #[staticmethod]
    fn from_private_bytes(private_key: Input<'_>) -> PyResult<Self> {
        Ok(Self(KeyPair::from_private_bytes(&*secret_key(private_key, "a static private key")?)))
    }

    fn private_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.private_bytes())
    }

    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.public_key())
    }

    fn __repr__(&self) -> String {
        format!("<NoiseKeyPair {}>", sideband_core::kdf::fingerprint(&self.0.public_key()))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("NoiseKeyPair"))
    }
}

#[pyclass(frozen, module = "sideband._native")]
pub struct NoiseHandshake(Mutex<Handshake>);

#[pymethods]
impl NoiseHandshake {
    #[new]
    #[pyo3(signature = (key_pair, *, initiator, prologue, ephemeral = None))]
    fn new(
        key_pair: &Bound<'_, NoiseKeyPair>,
        initiator: bool,
        prologue: Input<'_>,
        ephemeral: Option<Input<'_>>,
    ) -> PyResult<Self> {
        let role = if initiator { Role::Initiator } else { Role::Responder };
        let scalar = match ephemeral {
            Some(scalar) => secret_key(scalar, "an ephemeral private key")?,
            None => random_key()?,
        };
        let handshake = Handshake::new(role, &key_pair.get().0, &prologue, &scalar).map_err(Failure::from)?;
        Ok(Self(Mutex::new(handshake)))
    }

    #[pyo3(signature = (payload = None))]
    fn write<'py>(&self, py: Python<'py>, payload: Option<Input<'py>>) -> PyResult<Bound<'py, PyBytes>> {
        let payload = payload.as_deref().unwrap_or_default();
        let message = with_lock(py, &self.0, |handshake| handshake.write(payload)).map_err(Failure::from)?;
        Ok(PyBytes::new(py, &message))
    }

    fn read<'py>(&self, py: Python<'py>, message: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let message: &[u8] = &message;
        let payload = with_lock(py, &self.0, |handshake| handshake.read(message)).map_err(Failure::from)?;
        Ok(PyBytes::new(py, &payload))
    }

    #[getter]
    fn hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &with_lock(py, &self.0, |handshake| handshake.hash()))
    }

    #[getter]
    fn remote_key<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        with_lock(py, &self.0, |handshake| handshake.remote_key()).map(|key| PyBytes::new(py, &key))
    }

    #[getter]
    fn finished(&self, py: Python<'_>) -> bool {
        with_lock(py, &self.0, |handshake| handshake.is_finished())
    }

    #[pyo3(
        signature = (*, max_record = MAX_RECORD, rekey_records = 1 << 32, rekey_bytes = 64 << 30),
        text_signature = "(self, /, *, max_record=1048593, rekey_records=4294967296, rekey_bytes=68719476736)"
    )]
    fn session(
        &self,
        py: Python<'_>,
        max_record: usize,
        rekey_records: u64,
        rekey_bytes: u64,
    ) -> PyResult<NoiseSession> {
        if !(WIRE_OVERHEAD..=MAX_RECORD).contains(&max_record) {
            let range = format!("{WIRE_OVERHEAD} to {MAX_RECORD}");
            return Err(PyValueError::new_err(format!("max_record is {range} bytes, got {max_record}")));
        }
        let rekey = RekeyAfter::new(rekey_records, rekey_bytes);
        let made = with_lock(py, &self.0, |handshake| {
            let keys = handshake.take_keys()?;
            Ok::<_, NoiseError>(establish_with::<Cipher>(keys, handshake.role(), max_record, rekey))
        });
        let (sealer, opener) = made.map_err(Failure::from)?;
        Ok(NoiseSession {
            sealer: Mutex::new(sealer),
            receiving: Mutex::new(Receiving { opener, reader: RecordReader::new(), failure: None }),
            max_content: max_record - RECORD_OVERHEAD,
        })
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("NoiseHandshake"))
    }
}

struct Receiving {
    opener: Opener,
    reader: RecordReader,
    failure: Option<NoiseError>,
}

#[pyclass(frozen, module = "sideband._native")]
pub struct NoiseSession {
    sealer: Mutex<Sealer>,
    receiving: Mutex<Receiving>,
    #[pyo3(get)]
    max_content: usize,
}

#[pymethods]
impl NoiseSession {
    fn seal_stream<'py>(&self, py: Python<'py>, contents: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let contents = gathered(contents)?;
        loop {
            let plan = self.plan(py, &contents)?;
            let lengths: Vec<[u8; LENGTH_SIZE]> = contents.iter().map(|content| length_of(content.size())).collect();
            let mut room: Vec<&[u8]> = Vec::new();
            for ((content, length), rekey) in contents.iter().zip(&lengths).zip(&plan.rekey) {
                if *rekey {
                    room.extend([&NEXT_KEY_LENGTH[..], &[SEALED], &[0; RECORD_OVERHEAD]]);
                }
                room.extend([&length[..], &[SEALED, 0]]);
                room.extend(content.parts());
                room.push(&[0; RECORD_OVERHEAD - 1]);
            }
            let mut output = Output::concat(py, &room)?;
            if self.seal_planned(py, &plan, &contents, records_of(output.as_mut_slice()))? {
                return Ok(output.into_bytes());
            }
        }
    }

    fn seal_messages<'py>(&self, py: Python<'py>, contents: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let contents = gathered(contents)?;
        loop {
            let plan = self.plan(py, &contents)?;
            let mut outputs = Vec::with_capacity(contents.len());
            for (content, rekey) in contents.iter().zip(&plan.rekey) {
                if *rekey {
                    outputs.push(Output::concat(py, &[&[SEALED], &[0; RECORD_OVERHEAD]])?);
                }
                let parts: Vec<&[u8]> = [&[SEALED, 0][..]]
                    .into_iter()
                    .chain(content.parts())
                    .chain([&[0; RECORD_OVERHEAD - 1][..]])
                    .collect();
                outputs.push(Output::concat(py, &parts)?);
            }
            let records =
                outputs.iter_mut().map(|output| output.as_mut_slice().get_mut(1..).unwrap_or_default()).collect();
            if self.seal_planned(py, &plan, &contents, records)? {
                return Ok(outputs.into_iter().map(Output::into_bytes).collect());
            }
        }
    }

    fn seal_control<'py>(&self, py: Python<'py>, kind: u8, content: Input<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let kind = match kind {
            1 => RecordType::Ping,
            2 => RecordType::Pong,
            3 => RecordType::Close,
            _ => return Err(PyValueError::new_err("a control record is 1 ping, 2 pong or 3 close")),
        };
        let size = content.len();
        let mut next_key = [0; RECORD_OVERHEAD];
        let mut message = [&[SEALED, 0], &content[..], &[0; RECORD_OVERHEAD - 1]].concat();
        let rekeyed = with_lock(py, &self.sealer, |sealer| {
            // Whoever pings without sending data reaches the limits of a key too.
            let due = sealer.plan(std::iter::once(size))?.contains(&true);
            if due {
                sealer.seal_next_key(&mut next_key)?;
            }
            sealer.seal_in_place(kind, message.get_mut(1..).unwrap_or_default())?;
            Ok::<_, NoiseError>(due)
        });
        let mut messages = vec![message];
        if rekeyed.map_err(Failure::from)? {
            messages.insert(0, [&[SEALED][..], &next_key].concat());
        }
        Ok(messages.iter().map(|message| PyBytes::new(py, message)).collect())
    }

    fn push<'py>(&self, py: Python<'py>, data: Input<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut receiving = match self.receiving.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(PyRuntimeError::new_err("another thread reads from this session; a stream has one reader"));
            }
        };
        let Receiving { opener, reader, .. } = &mut *receiving;
        let bytes: &[u8] = &data;
        let (opened, failure) = if bytes.len() < RELEASE_THRESHOLD {
            reader.push(bytes, opener)
        } else {
            py.detach(|| reader.push(bytes, opener))
        };
        let records = opened
            .iter()
            .map(|(kind, range)| record(py, *kind, reader.content(range)))
            .collect::<PyResult<Vec<_>>>()?;
        match failure {
            Some(failure) if records.is_empty() => Err(Failure::from(failure).into()),
            // What came before the failure is delivered; the failure stays, so the next call raises it.
            _ => Ok(records),
        }
    }

    fn open_messages<'py>(&self, py: Python<'py>, messages: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let messages = inputs(messages)?;
        let mut buffers: Vec<Vec<u8>> = messages.iter().map(|message| message.to_vec()).collect();
        let (opened, failure) = with_lock_released(py, &self.receiving, |receiving| {
            let mut opened = Vec::with_capacity(buffers.len());
            for buffer in &mut buffers {
                if receiving.failure.is_some() {
                    break;
                }
                match open_message(&mut receiving.opener, buffer) {
                    Ok(record) => opened.push(record),
                    Err(failure) => receiving.failure = Some(failure),
                }
            }
            (opened, receiving.failure.clone())
        });
        let records = opened
            .iter()
            .zip(&buffers)
            .filter(|(opened, _)| opened.kind != RecordType::NextKey)
            .map(|(opened, buffer)| record(py, opened.kind, buffer.get(2..2 + opened.size).unwrap_or_default()))
            .collect::<PyResult<Vec<_>>>()?;
        match failure {
            Some(failure) if records.is_empty() => Err(Failure::from(failure).into()),
            _ => Ok(records),
        }
    }

    fn clear(&self, py: Python<'_>) {
        with_lock(py, &self.sealer, Sealer::clear);
        with_lock(py, &self.receiving, |receiving| {
            receiving.opener.clear();
            receiving.reader = RecordReader::new();
        });
    }

    #[getter]
    fn sent(&self, py: Python<'_>) -> (u64, u64) {
        with_lock(py, &self.sealer, |sealer| sealer.position())
    }

    #[getter]
    fn received(&self, py: Python<'_>) -> (u64, u64) {
        with_lock(py, &self.receiving, |receiving| receiving.opener.position())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("NoiseSession"))
    }
}

/// Before which contents a next-key record goes, as long as the sealer stands where it stood.
struct Plan {
    rekey: Vec<bool>,
    position: (u64, u64),
}

impl NoiseSession {
    fn plan(&self, py: Python<'_>, contents: &[Gathered<'_>]) -> Result<Plan, Failure> {
        let sizes: Vec<usize> = contents.iter().map(Gathered::size).collect();
        with_lock(py, &self.sealer, |sealer| {
            let rekey = sealer.plan(sizes.into_iter())?;
            Ok(Plan { rekey, position: sealer.position() })
        })
        .map_err(|error: NoiseError| error.into())
    }

    /// Seal what was laid out by `plan`; false, with nothing done, when another thread has sealed since.
    fn seal_planned(
        &self,
        py: Python<'_>,
        plan: &Plan,
        contents: &[Gathered<'_>],
        records: Vec<&mut [u8]>,
    ) -> Result<bool, Failure> {
        let total: usize = contents.iter().map(Gathered::size).sum();
        let work = |sealer: &mut Sealer| {
            if sealer.position() != plan.position {
                return Ok(false);
            }
            let mut records = records.into_iter();
            for rekey in &plan.rekey {
                if *rekey && let Some(Ok(record)) = records.next().map(TryInto::try_into) {
                    sealer.seal_next_key(record)?;
                }
                sealer.seal_in_place(RecordType::Data, records.next().unwrap_or_default())?;
            }
            Ok(true)
        };
        let sealed: Result<bool, NoiseError> = if total < RELEASE_THRESHOLD {
            with_lock(py, &self.sealer, work)
        } else {
            with_lock_released(py, &self.sealer, work)
        };
        Ok(sealed?)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the size was checked against the largest record")]
fn length_of(size: usize) -> [u8; LENGTH_SIZE] {
    ((size + WIRE_OVERHEAD) as u32).to_be_bytes()
}

#[allow(clippy::cast_possible_truncation, reason = "the overhead is 18 bytes")]
const NEXT_KEY_LENGTH: [u8; LENGTH_SIZE] = [0, 0, 0, WIRE_OVERHEAD as u8];

/// The records of a laid out stream, without their lengths and wire types.
fn records_of(mut stream: &mut [u8]) -> Vec<&mut [u8]> {
    let mut records = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk_mut::<LENGTH_SIZE>() {
        let size = u32::from_be_bytes(*length) as usize;
        let Some((message, after)) = rest.split_at_mut_checked(size) else { break };
        records.push(message.get_mut(1..).unwrap_or_default());
        stream = after;
    }
    records
}

fn open_message(opener: &mut Opener, message: &mut [u8]) -> Result<noise::Opened, NoiseError> {
    match message.split_first_mut() {
        Some((&mut SEALED, sealed)) => opener.open_in_place(sealed),
        first => {
            opener.clear();
            let came = first.map_or_else(|| "an empty one".to_owned(), |(kind, _)| format!("type {kind:#04x}"));
            let message = format!("a sealed record was due, a message came that is none: {came}");
            Err(NoiseError::new(noise::NoiseCode::ProtocolViolation, message))
        }
    }
}

fn record<'py>(py: Python<'py>, kind: RecordType, content: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let content = PyBytes::new(py, content);
    if kind == RecordType::Data { Ok(content.into_any()) } else { (kind as u8, content).into_bound_py_any(py) }
}
