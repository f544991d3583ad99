// Times and codes as people read them.

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric" });
const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

export function day(time: string | Date): string {
  const date = new Date(time);
  return isToday(date) ? "today" : DAY.format(date);
}

export function moment(time: string | Date): string {
  const date = new Date(time);
  return isToday(date) ? `today at ${clock(date)}` : DAY.format(date);
}

export function clock(time: string | Date): string {
  return TIME.format(new Date(time));
}

/** How long it is until then, such as `14:07`, or `1:02:03`. */
export function duration(until: Date): string {
  const seconds = Math.max(0, Math.ceil((until.getTime() - Date.now()) / 1000));
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

/** The first of `Phone`, `Phone 2` and so on that no device is called. */
export function freeName(devices: { name: string }[]): string {
  const taken = new Set(devices.map((device) => device.name.trim().toLowerCase()));
  for (let count = 1; ; count++) {
    const name = count === 1 ? "Phone" : `Phone ${count}`;
    if (!taken.has(name.toLowerCase())) {
      return name;
    }
  }
}

/** The name of a device among others; with the time it was added if another one has the same name. */
export function label(device: { name: string; confirmed_at: string | null }, devices: { name: string }[]): string {
  const isOne = devices.filter((other) => other.name === device.name).length < 2;
  return isOne || device.confirmed_at === null ? device.name : `${device.name}, added ${moment(device.confirmed_at)}`;
}

/** A secret in groups of four. */
export function grouped(secret: string): string {
  return secret.match(/.{1,4}/g)?.join(" ") ?? secret;
}

function isToday(date: Date): boolean {
  return DAY.format(date) === DAY.format(new Date());
}
