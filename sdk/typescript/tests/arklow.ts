// A server of one's own: the real binary on a free port, with a throwaway SQLite file, and its commands.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { TOTP, URI } from "otpauth";

const binary = process.env.ARKLOW_BIN ?? fileURLToPath(new URL("../../../target/debug/arklow", import.meta.url));
if (!existsSync(binary)) {
  throw new Error(`${binary} is not there; \`cargo xtask sdk --test\` builds it and runs these tests`);
}

/** A user with a confirmed device. */
export interface Caller {
  user: string;
  device: string;
  app: App;
  /** The token of a session that is MFA-fresh. */
  token: string;
}

export class Arklow {
  private constructor(
    private readonly folder: string,
    private readonly server: ChildProcess,
    readonly baseUrl: string,
  ) {}

  /** Starts `arklow serve` with further arguments and waits until it says where it listens. */
  static async serve(...args: string[]): Promise<Arklow> {
    const folder = await mkdtemp(join(tmpdir(), "arklow-sdk-"));
    const server = spawn(binary, ["serve", "--listen", "127.0.0.1:0", ...args], {
      ...surroundings(folder),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const printed: string[] = [];
    const baseUrl = await new Promise<string>((resolve, reject) => {
      for (const stream of [server.stdout, server.stderr]) {
        createInterface(stream).on("line", (line) => {
          printed.push(line);
          const base = /listening on (http:[^"\s]+)/.exec(line)?.[1];
          if (base) {
            resolve(base);
          }
        });
      }
      server.once("exit", (code) => reject(new Error(`the server ended with ${code}:\n${printed.join("\n")}`)));
    });
    return new Arklow(folder, server, baseUrl);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.server.once("exit", resolve));
    if (this.server.kill("SIGKILL")) {
      await ended;
    }
    await rm(this.folder, { recursive: true });
  }

  /** Runs a command and gives the object that it prints. */
  async run(...args: string[]): Promise<Record<string, string>> {
    const { stdout } = await promisify(execFile)(binary, [...args, "--json"], surroundings(this.folder));
    return JSON.parse(stdout);
  }

  async user(): Promise<string> {
    const name = `user-${crypto.randomUUID()}`;
    return (await this.run("user", "create", "--name", name, "--email", `${name}@example.com`)).id!;
  }

  /** The token of a new session. */
  async session(user: string, ...args: string[]): Promise<string> {
    return (await this.run("session", "create", "--user", user, ...args)).token!;
  }

  async device(user: string): Promise<{ device: string; app: App }> {
    const { id, provisioning_uri } = await this.run("device", "create", "--user", user, "--name", "Phone", "--confirmed");
    return { device: id!, app: new App(provisioning_uri!) };
  }

  async caller(): Promise<Caller> {
    const user = await this.user();
    return { user, ...(await this.device(user)), token: await this.session(user, "--mfa-verified-for", "15m") };
  }

  /** Makes the database unreadable. */
  async vandalize(): Promise<void> {
    for (const name of ["arklow.db", "arklow.db-wal"]) {
      const path = join(this.folder, name);
      await writeFile(path, Buffer.alloc((await stat(path)).size, "?"));
    }
  }
}

/** An authenticator app: a library that is not ours, told of nothing but the URI. */
export class App {
  private readonly totp: TOTP;

  constructor(uri: string) {
    const otp = URI.parse(uri);
    if (!(otp instanceof TOTP)) {
      throw new Error("the URI is not of a TOTP device");
    }
    this.totp = otp;
  }

  /** What the app shows now. */
  code(): string {
    return this.totp.generate();
  }

  /** What it shows next; the server accepts it already. */
  nextCode(): string {
    return this.totp.generate({ timestamp: Date.now() + this.totp.period * 1000 });
  }

  /** A code that is not right at any time near. */
  wrongCode(): string {
    const near = [-3, -2, -1, 0, 1, 2, 3].map((steps) =>
      this.totp.generate({ timestamp: Date.now() + steps * this.totp.period * 1000 }),
    );
    return ["111111", "222222", "333333", "444444", "555555", "666666", "777777", "888888"].find(
      (code) => !near.includes(code),
    )!;
  }
}

/** Nothing of the surroundings configures the server. */
function surroundings(folder: string) {
  return { cwd: folder, env: { PATH: process.env.PATH } };
}
