//! The primitives that the Noise state machine of `snow` calls, from the crates that the rest of this one uses.
//!
//! Compared with snow's own set: no second copy of the same crates, keys are wiped, a low-order point is refused, and
//! randomness comes in from outside.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use sha2::{Digest, Sha256};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

const TAG: usize = 16;

/// Gives the primitives of the one suite, and `ephemeral` as the only randomness, once.
pub struct Primitives {
    ephemeral: Zeroizing<[u8; 32]>,
}

impl Primitives {
    pub fn new(ephemeral: &[u8; 32]) -> Self {
        Self { ephemeral: Zeroizing::new(*ephemeral) }
    }
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Hasher::default()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly::default()) as Box<dyn Cipher>)
    }
}

struct Once(Option<Zeroizing<[u8; 32]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        // A second draw would repeat the ephemeral key.
        let bytes = self.0.take().ok_or(snow::Error::Rng)?;
        if dest.len() != bytes.len() {
            return Err(snow::Error::Rng);
        }
        dest.copy_from_slice(bytes.as_slice());
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl X25519 {
    fn adopt(&mut self, private: &[u8; 32]) {
        *self.private = *private;
        self.public = PublicKey::from(&StaticSecret::from(*private)).to_bytes();
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        if let Ok(private) = privkey.try_into() {
            self.adopt(private);
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut private = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(private.as_mut_slice())?;
        self.adopt(&private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.private.as_slice()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public = *pubkey.first_chunk::<32>().ok_or(snow::Error::Input)?;
        let shared = StaticSecret::from(*self.private).diffie_hellman(&PublicKey::from(public));
        // A low-order point would make the secret known to everyone (RFC 7748, 6.1).
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        out.first_chunk_mut::<32>().ok_or(snow::Error::Input)?.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

#[derive(Default)]
struct Hasher(Sha256);

impl Hash for Hasher {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Sha256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        if let Some(out) = out.first_chunk_mut::<32>() {
            *out = self.0.finalize_reset().into();
        }
    }
}

/// Noise's own nonce: four zero bytes and the counter, little-endian.
#[derive(Default)]
struct ChaChaPoly(Zeroizing<[u8; 32]>);

impl ChaChaPoly {
    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.0).into())
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        *self.0 = *key;
    }

    #[allow(clippy::indexing_slicing, reason = "snow has checked that `out` holds the plaintext and a tag")]
    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let size = plaintext.len();
        out[..size].copy_from_slice(plaintext);
        let nonce = noise_nonce(nonce);
        let sealed = self.cipher().encrypt_inout_detached((&nonce).into(), authtext, InOutBuf::from(&mut out[..size]));
        // Messages are at most 64 KiB, and the cipher refuses only from 256 GiB on. Without a tag nothing verifies.
        let tag: [u8; TAG] = sealed.map_or([0; TAG], Into::into);
        out[size..size + TAG].copy_from_slice(&tag);
        size + TAG
    }

    fn decrypt(&self, nonce: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let (body, tag) = ciphertext.split_last_chunk::<TAG>().ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..body.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(body);
        let nonce = noise_nonce(nonce);
        self.cipher()
            .decrypt_inout_detached((&nonce).into(), authtext, InOutBuf::from(&mut *out), tag.into())
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(body.len())
    }
}

pub fn noise_nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    if let Some(last) = nonce.last_chunk_mut::<8>() {
        *last = counter.to_le_bytes();
    }
    nonce
}
