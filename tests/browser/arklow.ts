// A server of one's own, from the binary that `ARKLOW_BIN` names, and the commands on its database.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const BINARY = process.env["ARKLOW_BIN"] ?? "";

export class Arklow {
  private constructor(
    private readonly folder: string,
    private readonly server: ChildProcess,
    readonly url: string,
  ) {}

  /** Starts `arklow serve` on a new database and a free port. */
  static async start(flags: string[] = []): Promise<Arklow> {
    if (BINARY === "") {
      throw new Error("ARKLOW_BIN names no binary; `cargo xtask browser` builds one and sets it");
    }
    const folder = mkdtempSync(join(tmpdir(), "arklow-browser-"));
    const server = spawn(BINARY, ["serve", "--listen", "127.0.0.1:0", ...flags], {
      cwd: folder,
      env: environment(folder),
      stdio: ["ignore", "ignore", "pipe"],
    });
    const said: string[] = [];
    const url = await new Promise<string>((resolve, reject) => {
      server.once("error", reject);
      server.once("exit", () => reject(new Error(`the server ended:\n${said.join("\n")}`)));
      createInterface({ input: server.stderr! }).on("line", (line) => {
        said.push(line);
        const url = line.match(/listening on (http:[^"\s]+)/)?.[1];
        if (url !== undefined) {
          resolve(url);
        }
      });
    });
    return new Arklow(folder, server, url);
  }

  /** Runs a command on the server's database and gives what it printed. */
  run(...command: string[]): Record<string, string> {
    const printed = execFileSync(BINARY, [...command, "--json"], {
      cwd: this.folder,
      env: environment(this.folder),
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    return JSON.parse(printed) as Record<string, string>;
  }

  /** A new user's id. */
  user(name: string): string {
    return this.run("user", "create", "--name", name, "--email", `${name.toLowerCase()}@example.com`)["id"]!;
  }

  /** The token of a new session. */
  session(user: string, ...flags: string[]): string {
    return this.run("session", "create", "--user", user, ...flags)["token"]!;
  }

  /** A confirmed device: its id, and its URI for an authenticator app. */
  device(user: string, name: string): { id: string; uri: string } {
    const device = this.run("device", "create", "--user", user, "--name", name, "--confirmed");
    return { id: device["id"]!, uri: device["provisioning_uri"]! };
  }

  /** Asks an operation, beside the page. */
  async ask(token: string, method: string, path: string, body?: object): Promise<{ status: number; body: any }> {
    const headers = { "x-arklow-auth": token, "content-type": "application/json" };
    const answer = await fetch(`${this.url}${path}`, { method, headers, body: body && JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  }

  async stop(): Promise<void> {
    if (this.server.exitCode === null) {
      const ended = new Promise((resolve) => this.server.once("exit", resolve));
      this.server.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true });
  }
}

/** Nothing of this process but what programs need to run at all. */
function environment(folder: string): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], HOME: folder };
}
