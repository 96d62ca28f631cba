//! Tokens of Microsoft Entra ID, as far as the emulator goes: texts that it was told to accept.

use secrecy::{ExposeSecret as _, SecretString};

/// The tokens that open the service's front door. None at all, unless the emulator is told of some.
#[derive(Clone, Debug, Default)]
pub(crate) struct BearerTokens(Vec<SecretString>);

impl BearerTokens {
    pub(crate) fn new(tokens: Vec<SecretString>) -> Self {
        Self(tokens)
    }

    /// Whether one of them is shown. What a token says, who issued it, to whom and for how long, is
    /// not looked at.
    pub(crate) fn accept(&self, shown: &str) -> bool {
        self.0.iter().any(|token| token.expose_secret() == shown)
    }
}
