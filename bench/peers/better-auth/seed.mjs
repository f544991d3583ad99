// Tables, and 64 users with a second factor, a session and no password.
import { writeFileSync } from "node:fs";
import { getMigrations } from "better-auth/db/migration";
import { make, open, options } from "./auth.mjs";

const [database, requests] = process.argv.slice(2);
const db = await open(database);
const { runMigrations } = await getMigrations(options(db));
await runMigrations();

const auth = make(db);
const context = await auth.$context;
const lines = [];
for (let n = 0; n < 64; n++) {
    const user = await context.internalAdapter.createUser({
        name: `User ${n}`,
        email: `user${n}@example.org`,
        emailVerified: true,
    });
    const session = await context.internalAdapter.createSession(user.id);
    const headers = new Headers({ authorization: `Bearer ${session.token}` });
    await auth.api.enableTwoFactor({ body: {}, headers });
    await context.internalAdapter.updateUser(user.id, { twoFactorEnabled: true });
    lines.push(`/api/auth/two-factor/generate-backup-codes\tauthorization: Bearer ${session.token}\t{}`);
}
writeFileSync(requests, `${lines.join("\n")}\n`);
process.exit(0);
