//! The tables, as Diesel sees them. The files in `migrations` document them.

diesel::table! {
    users (id) {
        id -> BigInt,
        name -> Text,
        email -> Text,
        email_folded -> Text,
        created_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
        mfa_failures -> BigInt,
        mfa_locked_until -> Nullable<BigInt>,
    }
}

diesel::table! {
    memberships (user_id, org_id) {
        user_id -> BigInt,
        org_id -> BigInt,
        permissions -> Text,
    }
}

diesel::table! {
    sessions (id) {
        id -> BigInt,
        user_id -> BigInt,
        token_hash -> Binary,
        created_at -> BigInt,
        expires_at -> BigInt,
        mfa_not_after -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    devices (id) {
        id -> BigInt,
        user_id -> BigInt,
        name -> Text,
        device_type -> Text,
        seed_key_id -> Nullable<Text>,
        seed -> Nullable<Binary>,
        last_step -> Nullable<BigInt>,
        totp_locked_at -> Nullable<BigInt>,
        confirmed_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
        removed_at -> Nullable<BigInt>,
        code_key_id -> Nullable<Text>,
        code_mac_key -> Nullable<Binary>,
        code_macs -> Nullable<Binary>,
        code_used -> Integer,
        code_generation -> BigInt,
        codes_locked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    audit (id) {
        id -> BigInt,
        at -> BigInt,
        event -> Text,
        outcome -> Text,
        reason -> Nullable<Text>,
        actor -> Nullable<Text>,
        user_id -> Nullable<BigInt>,
        session_id -> Nullable<BigInt>,
        device_id -> Nullable<BigInt>,
        generation -> Nullable<BigInt>,
        remaining -> Nullable<BigInt>,
        remote_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        request_id -> Nullable<Text>,
        attempts -> BigInt,
    }
}

diesel::table! {
    outbox (id) {
        id -> BigInt,
        audit_id -> BigInt,
        at -> BigInt,
        kind -> Text,
        user_id -> BigInt,
        device_id -> Nullable<BigInt>,
        delivered_at -> Nullable<BigInt>,
        attempts -> BigInt,
        due_at -> BigInt,
        failed_at -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
    }
}

diesel::table! {
    keys (id) {
        id -> Text,
        check_value -> Binary,
        first_used_at -> BigInt,
        retired_at -> Nullable<BigInt>,
    }
}

diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(devices -> users (user_id));
diesel::joinable!(memberships -> users (user_id));
diesel::joinable!(outbox -> users (user_id));
diesel::joinable!(outbox -> devices (device_id));
diesel::joinable!(outbox -> audit (audit_id));
diesel::allow_tables_to_appear_in_same_query!(
    users,
    memberships,
    sessions,
    devices,
    audit,
    outbox,
    keys
);
