//! What tests of the data plane share.

use std::time::Duration;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};

use super::{Credential, Route};
use crate::flow::{
    fault::Fault,
    ports::{KeyId, Purpose, Sealer},
};

/// Real MACs under a key that the number names; seals nothing.
pub(crate) struct TestSealer(pub(crate) u8);

impl Sealer for TestSealer {
    fn current(&self) -> KeyId {
        KeyId([self.0; 8])
    }

    fn key_of(&self, _: &[u8]) -> Option<KeyId> {
        None
    }

    fn seal(&self, _: Purpose, _: &[u8], _: &[u8]) -> Result<Vec<u8>, Fault> {
        Err(Fault::new("seal in this test"))
    }

    fn open(&self, _: Purpose, _: &[u8], _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &[self.0; 32]));
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().unwrap()
    }

    fn mac_matches(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        verify_slices_are_equal(&self.mac(parts), tag).is_ok()
    }
}

/// A route with patience for tests.
pub(crate) fn route() -> Route {
    Route {
        path: "/mcp".to_owned(),
        credential: Credential::Authorization,
        identity_headers: false,
        max_body: 1024,
        upload_stall: Duration::from_secs(5),
        response_timeout: Duration::from_secs(5),
        end_streams_at_expiry: true,
        drain_grace: Duration::from_secs(5),
    }
}
