//! Login: caching_sha2_password by its fast path, and mysql_native_password.
//!
//! The server knows the passwords (they stand in the configuration), so the fast path always
//! answers and neither RSA nor a cache is needed. What a stranger can learn is bounded:
//!
//! 1. An unknown user goes through the same exchange as a known one, against a password that
//!    nobody has; the answer and the work are the same.
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

/// Names and passwords, from the configuration alone.
#[derive(Clone, Default)]
pub struct Users(Arc<HashMap<String, String>>);

impl Users {
    /// The users of a configuration.
    #[must_use]
    pub fn new(users: HashMap<String, String>) -> Users {
        Users(Arc::new(users))
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
        let known = self.0.get(user);
        // Nobody's password: the nonce is fresh, so nobody can have prepared its answer.
        let nobody = format!("{nonce:?}");
        let password = known.map_or(nobody.as_str(), String::as_str);
        let expected = scramble(plugin, password, nonce);
        let equal = equal_in_constant_time(&expected, response);
        equal & known.is_some()
    }
}

/// What a client with this password answers. Empty for the empty password.
#[must_use]
pub fn scramble(plugin: Plugin, password: &str, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    match plugin {
        // SHA1(password) xor SHA1(nonce, SHA1(SHA1(password)))
        Plugin::Native => {
            let once = Sha1::digest(password);
            let mask = Sha1::new()
                .chain_update(nonce)
                .chain_update(Sha1::digest(once))
                .finalize();
            once.iter().zip(mask).map(|(a, b)| a ^ b).collect()
        }
        // SHA256(password) xor SHA256(SHA256(SHA256(password)), nonce)
        Plugin::CachingSha2 => {
            let once = Sha256::digest(password);
            let mask = Sha256::new()
                .chain_update(Sha256::digest(once))
                .chain_update(nonce)
                .finalize();
            once.iter().zip(mask).map(|(a, b)| a ^ b).collect()
        }
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
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        assert_eq!(hex(&scramble(Plugin::Native, "secret", &nonce)), NATIVE);
        assert_eq!(
            hex(&scramble(Plugin::CachingSha2, "secret", &nonce)),
            CACHING_SHA2
        );
    }
    const NATIVE: &str = "8817c50fa779daef010ee7577825b0847df9842e";
    const CACHING_SHA2: &str = "c76e2898612a4cf042c77fa8c4702c4c64c0c2c557c53c4d75595aaa6abae809";

    #[test]
    fn only_the_right_password_of_a_known_user_is_admitted() {
        let nonce = nonce().expect("random bytes");
        for plugin in [Plugin::CachingSha2, Plugin::Native] {
            let answer = |password: &str| scramble(plugin, password, &nonce);
            let cases = [
                ("ann", answer("secret"), true),
                ("ann", answer("Secret"), false),
                ("ann", Vec::new(), false),
                ("ann", answer("secret")[..10].to_vec(), false),
                ("root", Vec::new(), true),
                ("root", answer("x"), false),
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
