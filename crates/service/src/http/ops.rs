//! The operations, one file each, named as in `openapi.yaml`.

pub(crate) mod delete_v1_self_mfa_remove;
pub(crate) mod get_v1_self;
pub(crate) mod get_v1_self_mfa;
pub(crate) mod post_v1_self_mfa_enroll_confirm;
pub(crate) mod post_v1_self_mfa_enroll_start;
pub(crate) mod post_v1_self_mfa_regenerate_totp;
pub(crate) mod post_v1_self_mfa_verify_totp;
pub(crate) mod post_v1_self_mfa_verify_totp_backup;
