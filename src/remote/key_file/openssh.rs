//! OpenSSH's own format (its PROTOCOL.key): the outer structure, and of an unencrypted key the comment.

use super::{Algorithm, Armour, DSA, FIDO, Parts, Refusal};
use crate::remote::wire::{number, string};

const MAGIC: &[u8] = b"openssh-key-v1\0";
/// More rounds of bcrypt than any key is made with: 16 take a tenth of a second, and these would take minutes.
const MOST_ROUNDS: u32 = 20_000;
const CUT: Refusal = Refusal::Malformed("the private key is cut off or damaged");

/// What stands around the private half.
struct Outer<'a> {
    encrypted: bool,
    public: &'a [u8],
    private: &'a [u8],
}

pub(super) fn parts(armour: &Armour<'_>) -> Result<Parts, Refusal> {
    let decoded = armour.decoded()?;
    let rest = decoded.expose().strip_prefix(MAGIC);
    let mut rest = rest.ok_or(Refusal::Malformed("not a private key of OpenSSH's format 1"))?;
    let outer = outer(&mut rest)?;
    let algorithm = Algorithm::of(outer.public).ok_or_else(|| unsupported(outer.public))?;
    let comment =
        if outer.encrypted { None } else { comment(algorithm, outer.public, outer.private)? };
    Ok(Parts {
        encrypted: outer.encrypted,
        algorithm: Some(algorithm),
        public: Some(outer.public.to_vec()),
        comment,
    })
}

fn outer<'a>(rest: &mut &'a [u8]) -> Result<Outer<'a>, Refusal> {
    let mut field = || string(rest).ok_or(CUT);
    let (cipher, kdf, mut options) = (field()?, field()?, field()?);
    match (cipher, kdf) {
        (b"none", b"none") => {}
        (b"none", _) | (_, b"none") => return Err(CUT),
        (_, b"bcrypt") => {
            let salt = string(&mut options).ok_or(CUT)?;
            let rounds = number(&mut options).ok_or(CUT)?;
            if salt.is_empty() || rounds == 0 || rounds > MOST_ROUNDS {
                return Err(Refusal::Malformed("no sensible number of bcrypt rounds"));
            }
        }
        _ => {
            return Err(Refusal::Unsupported(
                "its passphrase is hashed by other means than bcrypt",
            ));
        }
    }
    if number(rest).ok_or(CUT)? != 1 {
        return Err(Refusal::Unsupported(
            "a file with more than one key, which OpenSSH refuses too",
        ));
    }
    let (public, private) = (string(rest).ok_or(CUT)?, string(rest).ok_or(CUT)?);
    // The tag of an authenticated cipher may follow: 16 bytes of AES-GCM or Poly1305.
    if private.is_empty() || !matches!(rest.len(), 0 | 16) {
        return Err(CUT);
    }
    Ok(Outer { encrypted: cipher != b"none", public, private })
}

/// Why there is no [`Algorithm`] for a public key.
fn unsupported(public: &[u8]) -> Refusal {
    match string(&mut &*public) {
        Some(b"ssh-dss") => Refusal::Unsupported(DSA),
        Some(name) if name.starts_with(b"sk-") => Refusal::Unsupported(FIDO),
        Some(_) => Refusal::Unsupported("a kind of key that is not known here"),
        None => CUT,
    }
}

/// The comment behind the private key's fields.
fn comment(
    algorithm: Algorithm,
    public: &[u8],
    mut private: &[u8],
) -> Result<Option<String>, Refusal> {
    // The two are equal: with a wrong passphrase they would not be.
    if number(&mut private).ok_or(CUT)? != number(&mut private).ok_or(CUT)? {
        return Err(CUT);
    }
    if string(&mut private) != string(&mut &*public) {
        return Err(CUT);
    }
    let fields = match algorithm {
        // Public; private and public.
        Algorithm::Ed25519 => 2,
        // Curve, public, private.
        Algorithm::EcdsaNistp256 | Algorithm::EcdsaNistp384 | Algorithm::EcdsaNistp521 => 3,
        // n, e, d, iqmp, p, q.
        Algorithm::Rsa => 6,
    };
    for _ in 0..fields {
        string(&mut private).ok_or(CUT)?;
    }
    let comment = String::from_utf8_lossy(string(&mut private).ok_or(CUT)?);
    Ok(Some(comment.into_owned()).filter(|text| !text.is_empty()))
}
