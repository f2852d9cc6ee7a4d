//! Login: caching_sha2_password by its fast path, and mysql_native_password.
//!
//! The server knows the passwords (they stand in the configuration), so the fast path always
//! answers and neither RSA nor a cache is needed. What a stranger can learn is bounded:
//!
//! 1. An unknown user goes through the same exchange as a known one, against a password that
//!    nobody has; the answer and the work are the same. So are they for an empty password and one of
//!    any length: what is kept of each is two digests, made once.
//! 2. Responses are compared in constant time.
//! 3. The nonce is 20 fresh bytes from the kernel, none of them 0 or `$`.

use std::collections::HashMap;
use std::sync::Arc;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Length of the nonce, bytes.
pub const NONCE_BYTES: usize = 20;

/// The plugins a client may answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// SHA-256, MySQL 8's default.
    CachingSha2,
    /// SHA-1, what older clients have.
    Native,
}

impl Plugin {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Plugin::CachingSha2 => "caching_sha2_password",
            Plugin::Native => "mysql_native_password",
        }
    }
}

/// What is kept of a password. It is as good as the password itself here, and is never shown.
#[derive(Clone)]
struct Secret {
    is_empty: bool,
    native: [u8; 20],
    caching_sha2: [u8; 32],
}

impl Secret {
    fn of(password: &str) -> Secret {
        Secret {
            is_empty: password.is_empty(),
            native: Sha1::digest(password).into(),
            caching_sha2: Sha256::digest(password).into(),
        }
    }

    /// What a client with this password answers, were it not empty.
    fn scramble(&self, plugin: Plugin, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
        let xor = |once: &[u8], mask: &[u8]| once.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        match plugin {
            // SHA1(password) xor SHA1(nonce, SHA1(SHA1(password)))
            Plugin::Native => {
                let mask = Sha1::new()
                    .chain_update(nonce)
                    .chain_update(Sha1::digest(self.native))
                    .finalize();
                xor(&self.native, &mask)
            }
            // SHA256(password) xor SHA256(SHA256(SHA256(password)), nonce)
            Plugin::CachingSha2 => {
                let mask = Sha256::new()
                    .chain_update(Sha256::digest(self.caching_sha2))
                    .chain_update(nonce)
                    .finalize();
                xor(&self.caching_sha2, &mask)
            }
        }
    }
}

/// Names and passwords, from the configuration alone.
#[derive(Clone)]
pub struct Users {
    known: Arc<HashMap<String, Secret>>,
    /// What an unknown user is compared with; that it would be right admits nobody.
    nobody: Secret,
}

impl Users {
    /// The users of a configuration.
    #[must_use]
    pub fn new(users: HashMap<String, String>) -> Users {
        let secrets = users
            .into_iter()
            .map(|(name, password)| (name, Secret::of(&password)));
        Users {
            known: Arc::new(secrets.collect()),
            nobody: Secret::of("nobody"),
        }
    }

    /// Whether there is such a user. For the log alone: no client may learn it.
    #[must_use]
    pub fn is_known(&self, user: &str) -> bool {
        self.known.contains_key(user)
    }

    /// Whether `response` is what `user` answers to `nonce`. Takes as long for a user who does not exist.
    #[must_use]
    pub fn admit(
        &self,
        user: &str,
        plugin: Plugin,
        nonce: &[u8; NONCE_BYTES],
        response: &[u8],
    ) -> bool {
        let known = self.known.get(user);
        let secret = known.unwrap_or(&self.nobody);
        let is_right = equal_in_constant_time(&secret.scramble(plugin, nonce), response);
        // An empty password is answered with nothing.
        let is_admitted = (!secret.is_empty & is_right) | (secret.is_empty & response.is_empty());
        is_admitted & known.is_some()
    }
}

fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// A fresh nonce.
///
/// # Errors
/// Where the kernel's source of random bytes cannot be read.
pub fn nonce() -> std::io::Result<[u8; NONCE_BYTES]> {
    use std::io::Read;
    let mut nonce = [0; NONCE_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut nonce)?;
    for byte in &mut nonce {
        // Printable, as clients written in C expect: 0x25 to 0x7e.
        *byte = 0x25 + *byte % 90;
    }
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users::new(HashMap::from([
            ("root".into(), String::new()),
            ("ann".into(), "secret".into()),
        ]))
    }

    /// The responses that PyMySQL 1.1 computes for the password `secret` and this nonce.
    #[test]
    fn responses_are_those_of_a_real_client() {
        let nonce = *b"abcdefghijklmnopqrst";
        let scramble = |plugin, password| Secret::of(password).scramble(plugin, &nonce);
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        assert_eq!(hex(&scramble(Plugin::Native, "secret")), NATIVE);
        assert_eq!(hex(&scramble(Plugin::CachingSha2, "secret")), CACHING_SHA2);
    }
    const NATIVE: &str = "8817c50fa779daef010ee7577825b0847df9842e";
    const CACHING_SHA2: &str = "c76e2898612a4cf042c77fa8c4702c4c64c0c2c557c53c4d75595aaa6abae809";

    #[test]
    fn only_the_right_password_of_a_known_user_is_admitted() {
        let nonce = nonce().expect("random bytes");
        for plugin in [Plugin::CachingSha2, Plugin::Native] {
            let answer = |password: &str| Secret::of(password).scramble(plugin, &nonce);
            let cases = [
                ("ann", answer("secret"), true),
                ("ann", answer("Secret"), false),
                ("ann", Vec::new(), false),
                ("ann", answer("secret")[..10].to_vec(), false),
                ("root", Vec::new(), true),
                ("root", answer("x"), false),
                // Nobody computes with an empty password; if one did, it is not what clients send.
                ("root", answer(""), false),
                ("bob", answer("nobody"), false),
                ("bob", Vec::new(), false),
                ("bob", answer("secret"), false),
            ];
            for (user, response, admitted) in cases {
                assert_eq!(
                    users().admit(user, plugin, &nonce, &response),
                    admitted,
                    "{user} {plugin:?}"
                );
            }
        }
    }
}
