//! The operations, one file each, named as in `openapi.yaml`; the folder is the tag.

pub(crate) mod users {
    pub(crate) mod post_v1_self_mfa_regenerate_totp;
}
