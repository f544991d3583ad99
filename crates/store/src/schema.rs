//! The tables, as Diesel sees them.  What they mean stands in `migrations`.

diesel::table! {
    users (id) {
        id -> BigInt,
        name -> Text,
        email -> Text,
        email_folded -> Text,
        created_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
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
        seed_key_id -> Text,
        seed -> Binary,
        confirmed_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
        removed_at -> Nullable<BigInt>,
        code_key_id -> Nullable<Text>,
        code_macs -> Nullable<Binary>,
        code_used -> Integer,
        code_generation -> BigInt,
    }
}

diesel::table! {
    audit (id) {
        id -> BigInt,
        at -> BigInt,
        event -> Text,
        user_id -> BigInt,
        session_id -> Nullable<BigInt>,
        device_id -> Nullable<BigInt>,
        generation -> Nullable<BigInt>,
        remote_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        request_id -> Nullable<Text>,
    }
}

diesel::table! {
    keys (id) {
        id -> Text,
        check_value -> Binary,
        first_used_at -> BigInt,
    }
}

diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(devices -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(users, sessions, devices);
