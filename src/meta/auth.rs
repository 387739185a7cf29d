//! Passwords: bcrypt in stock's form, and a memory of who has just proved it.
//!
//! [`hash_password`] and [`verify_password`] take about 60 ms of CPU: never on an executor thread. [`Cache`] answers in
//! a microsecond for a login that was verified before; it holds salted SHA-256 only, and an entry is bound to the
//! bcrypt hash it was verified against, so that a changed password needs no notice.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;

use sha2::Digest;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::catalog::User;

/// Cost of a hash; stock's.
const COST: u32 = 10;
/// Logins remembered; the cache starts anew when it is full, which costs each user one comparison of hashes.
const CACHE_ENTRIES_MAX: usize = 4096;

/// A password could not be hashed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("password: {0}")]
pub struct PasswordError(String);

/// The bcrypt hash of `password`. Blocks for about 60 ms.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    let parts = bcrypt::hash_with_result(password, COST).map_err(|error| PasswordError(error.to_string()))?;
    Ok(parts.format_for_version(bcrypt::Version::TwoA))
}

/// Whether `password` is the one that `hash` was made of. Blocks for about 60 ms.
pub fn verify_password(password: &str, hash: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or(false)
}

/// Logins of one core that were verified.
#[derive(Debug)]
pub struct Cache {
    salt: [u8; 16],
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    hash: String,
    digest: [u8; 32],
}

impl Default for Cache {
    fn default() -> Cache {
        // The standard library's hash keys come from the system's randomness; that is all a salt in memory needs.
        let random = || RandomState::new().hash_one(0_u8).to_le_bytes();
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&random());
        salt[8..].copy_from_slice(&random());
        Cache { salt, entries: HashMap::new() }
    }
}

impl Cache {
    /// Whether `password` was verified for `user` before; when not, it has to be verified.
    pub fn knows(&self, user: &User, password: &str) -> bool {
        self.entries.get(&user.name).is_some_and(|entry| {
            entry.hash == user.hash && bool::from(entry.digest.ct_eq(&self.digest(&user.name, password)))
        })
    }

    /// Notes that `password` was verified for `user`.
    pub fn remember(&mut self, user: &User, password: &str) {
        if self.entries.len() >= CACHE_ENTRIES_MAX && !self.entries.contains_key(&user.name) {
            self.entries.clear();
        }
        let entry = Entry { hash: user.hash.clone(), digest: self.digest(&user.name, password) };
        self.entries.insert(user.name.clone(), entry);
    }

    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.salt);
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name);
        digest.update(password);
        digest.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn user(hash: &str) -> User {
        User { name: "u".to_owned(), hash: hash.to_owned(), admin: false, privileges: BTreeMap::new() }
    }

    #[test]
    fn a_hash_knows_its_password_and_no_other() {
        let hash = hash_password("a pässword").expect("hashes");
        assert!(hash.starts_with("$2a$10$"));
        assert!(verify_password("a pässword", &hash));
        assert!(!verify_password("another", &hash));
        assert!(!verify_password("another", "not a hash"));
        assert!(verify_password("", &hash_password("").expect("an empty one is allowed")));
    }

    #[test]
    fn the_cache_forgets_when_the_password_changes() {
        let mut cache = Cache::default();
        assert!(!cache.knows(&user("h1"), "pw"));
        cache.remember(&user("h1"), "pw");
        assert!(cache.knows(&user("h1"), "pw"));
        assert!(!cache.knows(&user("h1"), "other"));
        assert!(!cache.knows(&user("h2"), "pw"));
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = Cache::default();
        for number in 0..2 * CACHE_ENTRIES_MAX {
            cache.remember(&User { name: number.to_string(), ..user("h") }, "pw");
            assert!(cache.entries.len() <= CACHE_ENTRIES_MAX);
        }
    }
}
