//! `chacha20-poly1305@openssh.com` (OpenSSH's PROTOCOL.chacha20poly1305) by OpenSSL's vector code, in place of the portable C
//! that libssh2 brings: that C was the larger part of what a transfer cost.
//!
//! libssh2 has the cipher behind three functions of its own, and links them by name from its archive. Where these names are
//! defined already, as they are here, the archive's are not taken. The interface is that of the libssh2 that libssh2-sys 0.3
//! bundles (src/cipher-chachapoly.h); [`chachapoly_packets`] tells whether it is ours that runs.

use super::raw;
use crate::sys::zero;
use libc::{c_int, c_uint, size_t};
use openssl_sys as ossl;
use std::cell::{Cell, OnceCell};
use std::ptr::{null, null_mut};

const KEY: usize = 32;
const TAG: usize = 16;
/// The key stream is the same in both directions.
const ENCRYPT: c_int = 1;

/// `struct chachapoly_ctx`: 128 bytes that libssh2 has room for and does not look into. It frees them without clearing
/// them: a session's keys stay in freed memory until something else is written there.
#[repr(C)]
pub(super) struct Keys {
    /// For the packet, and for the key of its tag.
    main: [u8; KEY],
    /// For the length before it.
    header: [u8; KEY],
    _rest: [u8; 64],
}

/// OpenSSL's contexts, one of each per thread: a key is set for every packet, which costs less than to make one.
struct Contexts {
    cipher: *mut ossl::EVP_CIPHER_CTX,
    mac: *mut ossl::EVP_MAC_CTX,
}

impl Contexts {
    fn new() -> Self {
        // SAFETY: OpenSSL returns a context of its own, or null.
        let mut cipher = unsafe { ossl::EVP_CIPHER_CTX_new() };
        // SAFETY: OpenSSL returns a table of its own that lives as long as the program.
        let chacha20 = unsafe { ossl::EVP_chacha20() };
        // Once: OpenSSL 3 looks for the cipher's code each time that it is named.
        // SAFETY: the context is alive; key and IV come later.
        let set = !cipher.is_null()
            && unsafe {
                ossl::EVP_CipherInit_ex(cipher, chacha20, null_mut(), null(), null(), ENCRYPT)
            } == 1;
        if !set {
            // SAFETY: it is ours, and used by nobody; null is allowed.
            unsafe { ossl::EVP_CIPHER_CTX_free(cipher) };
            cipher = null_mut();
        }
        // SAFETY: the name ends with NUL; null is the default library and the default properties.
        let poly1305 = unsafe { ossl::EVP_MAC_fetch(null_mut(), c"POLY1305".as_ptr(), null()) };
        // SAFETY: null gives null; a context keeps a reference of its own to its algorithm.
        let mac = unsafe { ossl::EVP_MAC_CTX_new(poly1305) };
        // SAFETY: the reference is ours, and given back once; null is allowed.
        unsafe { ossl::EVP_MAC_free(poly1305) };
        Self { cipher, mac }
    }

    /// ChaCha20 with an 8-byte nonce, the packet's number, from a block on. `to` may be `from`. False: OpenSSL failed.
    ///
    /// # Safety
    /// `len` bytes can be read at `from` and written at `to`.
    unsafe fn chacha20(
        &self,
        key: &[u8; KEY],
        number: u64,
        block: u8,
        from: *const u8,
        to: *mut u8,
        len: usize,
    ) -> bool {
        let Ok(len) = c_int::try_from(len) else { return false };
        if self.cipher.is_null() {
            return false;
        }
        // The counter, little-endian, and the nonce, big-endian.
        let mut iv = [0; 16];
        iv[0] = block;
        iv[8..].copy_from_slice(&number.to_be_bytes());
        let (key, iv) = (key.as_ptr(), iv.as_ptr());
        // SAFETY: the context is alive and keeps its cipher; OpenSSL copies a key of 32 bytes and an IV of 16, as it has them.
        let set =
            unsafe { ossl::EVP_CipherInit_ex(self.cipher, null(), null_mut(), key, iv, ENCRYPT) };
        let mut written = 0;
        // SAFETY: a stream cipher reads `len` bytes and writes as many, as the caller promises; in place is allowed.
        set == 1
            && unsafe { ossl::EVP_CipherUpdate(self.cipher, to, &raw mut written, from, len) } == 1
            && written == len
    }

    /// Poly1305. `None`: OpenSSL failed.
    ///
    /// # Safety
    /// `len` bytes can be read at `from`.
    unsafe fn poly1305(&self, key: &[u8; KEY], from: *const u8, len: usize) -> Option<[u8; TAG]> {
        if self.mac.is_null() {
            return None;
        }
        let (mut tag, mut size) = ([0; TAG], 0);
        // SAFETY: the context is alive; OpenSSL copies the key.
        let set = unsafe { ossl::EVP_MAC_init(self.mac, key.as_ptr(), KEY, null()) };
        // SAFETY: OpenSSL reads `len` bytes, which the caller promises.
        let fed = set == 1 && unsafe { ossl::EVP_MAC_update(self.mac, from, len) } == 1;
        // SAFETY: OpenSSL writes at most TAG bytes.
        let done = fed
            && unsafe { ossl::EVP_MAC_final(self.mac, tag.as_mut_ptr(), &raw mut size, TAG) } == 1;
        (done && size == TAG).then_some(tag)
    }
}

impl Drop for Contexts {
    fn drop(&mut self) {
        // SAFETY: it is ours, and used by nobody any more; OpenSSL clears it. Null is allowed.
        unsafe { ossl::EVP_CIPHER_CTX_free(self.cipher) };
        // SAFETY: as above.
        unsafe { ossl::EVP_MAC_CTX_free(self.mac) };
    }
}

thread_local! {
    static CONTEXTS: OnceCell<Contexts> = const { OnceCell::new() };
    static PACKETS: Cell<u64> = const { Cell::new(0) };
}

/// How many packets of this thread's sessions were encrypted or decrypted here.
#[must_use]
pub fn chachapoly_packets() -> u64 {
    PACKETS.get()
}

/// # Safety
/// libssh2 passes room for its context, and a key of `len` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn chachapoly_init(
    keys: *mut Keys,
    key: *const u8,
    len: size_t,
) -> c_int {
    if len != 2 * KEY {
        return raw::LIBSSH2_ERROR_INVAL;
    }
    // SAFETY: the context is aligned for 32-bit numbers, these are bytes; 64 of them can be read and are written.
    unsafe { std::ptr::copy_nonoverlapping(key, keys.cast::<u8>(), len) };
    0
}

/// A packet of `aad` bytes of length and `len` bytes, and its tag behind them; `to` may be `from`.
///
/// # Safety
/// libssh2 passes a context that was set up, and buffers of `aad + len` bytes and a tag.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn chachapoly_crypt(
    keys: *mut Keys,
    number: u64,
    to: *mut u8,
    from: *const u8,
    len: size_t,
    aad: size_t,
    encrypt: c_int,
) -> c_int {
    // SAFETY: the context is alive during the call, and bytes have no alignment and no wrong value.
    let keys = unsafe { &*keys };
    PACKETS.set(PACKETS.get() + 1);
    let done = CONTEXTS.try_with(|contexts| {
        let contexts = contexts.get_or_init(Contexts::new);
        let mut key = [0; KEY];
        let place = key.as_mut_ptr();
        // SAFETY: the key is KEY bytes, and encrypted in place.
        let keyed = unsafe { contexts.chacha20(&keys.main, number, 0, place, place, KEY) };
        // SAFETY: as the caller of this function promises.
        let done = keyed
            && unsafe { contexts.packet(keys, number, &key, to, from, len, aad, encrypt != 0) };
        zero(&mut key);
        done
    });
    // Refused also while the thread ends: nothing is sent in the clear, nothing taken unchecked.
    if done == Ok(true) { 0 } else { raw::LIBSSH2_ERROR_DECRYPT }
}

impl Contexts {
    /// One packet, with the key of its tag. False: the tag is wrong, or OpenSSL failed.
    ///
    /// # Safety
    /// As of [`chachapoly_crypt`].
    #[expect(clippy::too_many_arguments, reason = "libssh2's, and the key")]
    unsafe fn packet(
        &self,
        keys: &Keys,
        number: u64,
        key: &[u8; KEY],
        to: *mut u8,
        from: *const u8,
        len: usize,
        aad: usize,
        encrypt: bool,
    ) -> bool {
        if !encrypt {
            let tag = from.wrapping_add(aad + len);
            // SAFETY: the packet is `aad + len` bytes.
            let Some(due) = (unsafe { self.poly1305(key, from, aad + len) }) else { return false };
            // SAFETY: both are TAG bytes. It takes the same time wherever they differ.
            if unsafe { ossl::CRYPTO_memcmp(due.as_ptr().cast(), tag.cast(), TAG) } != 0 {
                return false;
            }
        }
        // SAFETY: `aad` bytes at the beginning of both.
        if aad > 0 && !unsafe { self.chacha20(&keys.header, number, 0, from, to, aad) } {
            return false;
        }
        let (body, place) = (from.wrapping_add(aad), to.wrapping_add(aad));
        // SAFETY: `len` bytes in both.
        if !unsafe { self.chacha20(&keys.main, number, 1, body, place, len) } {
            return false;
        }
        if !encrypt {
            return true;
        }
        // SAFETY: the packet is now `aad + len` bytes at `to`.
        let Some(tag) = (unsafe { self.poly1305(key, to, aad + len) }) else { return false };
        let end = place.wrapping_add(len);
        // SAFETY: there is room for the tag behind it, and `tag` is ours.
        unsafe { std::ptr::copy_nonoverlapping(tag.as_ptr(), end, TAG) };
        true
    }
}

/// The length of a packet that has come as far as its first four bytes.
///
/// # Safety
/// libssh2 passes a context that was set up, a place for the number, and `len` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn chachapoly_get_length(
    keys: *mut Keys,
    length: *mut c_uint,
    number: u64,
    from: *const u8,
    len: size_t,
) -> c_int {
    if len < 4 {
        return -1;
    }
    // SAFETY: the context is alive during the call, and bytes have no alignment and no wrong value.
    let keys = unsafe { &*keys };
    let mut plain = [0; 4];
    let done = CONTEXTS.try_with(|contexts| {
        let contexts = contexts.get_or_init(Contexts::new);
        // SAFETY: four bytes in both.
        unsafe { contexts.chacha20(&keys.header, number, 0, from, plain.as_mut_ptr(), 4) }
    });
    if done != Ok(true) {
        return -1;
    }
    // SAFETY: libssh2's own place for the number.
    unsafe { length.write(u32::from_be_bytes(plain)) };
    0
}

#[cfg(test)]
mod tests {
    use super::{Keys, chachapoly_crypt, chachapoly_get_length, chachapoly_init};

    fn keys(key: [u8; 64]) -> Keys {
        let mut keys = Keys { main: [0; 32], header: [0; 32], _rest: [0; 64] };
        // SAFETY: a context and 64 bytes.
        assert_eq!(unsafe { chachapoly_init(&raw mut keys, key.as_ptr(), 64) }, 0);
        // SAFETY: refused before anything is read.
        assert_ne!(unsafe { chachapoly_init(&raw mut keys, key.as_ptr(), 32) }, 0);
        keys
    }

    fn crypt(keys: &mut Keys, number: u64, packet: &mut [u8], encrypt: bool) -> i32 {
        let (at, len) = (packet.as_mut_ptr(), packet.len() - 4 - 16);
        // SAFETY: four bytes of length, `len` of a packet and sixteen of a tag.
        unsafe { chachapoly_crypt(keys, number, at, at, len, 4, encrypt.into()) }
    }

    #[test]
    fn the_key_stream_is_that_of_the_published_vectors() {
        // draft-agl-tls-chacha20poly1305-04, section 7: key and nonce of zeros; blocks 0 and 1.
        let mut packet = [0; 4 + 16 + 16];
        assert_eq!(crypt(&mut keys([0; 64]), 0, &mut packet, true), 0);
        assert_eq!(packet[..4], [0x76, 0xb8, 0xe0, 0xad]);
        let block_1 = [0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a];
        assert_eq!(packet[4..12], block_1);
    }

    #[test]
    fn what_is_encrypted_is_decrypted_and_every_change_is_seen() {
        let mut keys = keys(std::array::from_fn(|n| n as u8));
        for (number, len) in [(0, 8), (1, 32_776), (u64::from(u32::MAX), 1000), (1 << 40, 64)] {
            let mut packet = vec![7; 4 + len + 16];
            packet[..4].copy_from_slice(&(len as u32).to_be_bytes());
            let plain = packet[..4 + len].to_vec();
            assert_eq!(crypt(&mut keys, number, &mut packet, true), 0);
            assert_ne!(packet[..4 + len], plain);
            let mut length = 0;
            // SAFETY: four bytes, and a place for the number.
            let got = unsafe {
                chachapoly_get_length(&raw mut keys, &raw mut length, number, packet.as_ptr(), 4)
            };
            assert_eq!((got, length as usize), (0, len));
            for changed in [0, 4, 4 + len / 2, 4 + len, 4 + len + 15] {
                let mut packet = packet.clone();
                packet[changed] ^= 1;
                assert_ne!(crypt(&mut keys, number, &mut packet, false), 0, "{changed}");
            }
            assert_ne!(crypt(&mut keys, number + 1, &mut packet.clone(), false), 0);
            assert_eq!(crypt(&mut keys, number, &mut packet, false), 0);
            assert_eq!(packet[..4 + len], plain);
        }
    }
}
