// better-auth with two-factor, on SQLite or PostgreSQL.
import { betterAuth } from "better-auth";
import { bearer, twoFactor } from "better-auth/plugins";

export async function open(database) {
    if (database.startsWith("sqlite:")) {
        const { default: Database } = await import("better-sqlite3");
        const db = new Database(database.slice("sqlite:".length));
        db.pragma("journal_mode = WAL");
        db.pragma("synchronous = FULL");
        db.pragma("busy_timeout = 5000");
        return db;
    }
    const { default: pg } = await import("pg");
    return new pg.Pool({ connectionString: database, max: 64 });
}

export function options(database) {
    return {
        database,
        secret: "a secret that protects nothing but a benchmark",
        baseURL: "http://127.0.0.1",
        emailAndPassword: { enabled: true },
        rateLimit: { enabled: false },
        logger: { disabled: true },
        telemetry: { enabled: false },
        plugins: [twoFactor({ allowPasswordless: true }), bearer()],
    };
}

export const make = (database) => betterAuth(options(database));
