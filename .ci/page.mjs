// Uses the live page as a person with a browser does.
//
//   node .ci/page.mjs HERD_CLI PLAYWRIGHT_CORE CHROMIUM [FOLDER_FOR_SCREENSHOTS]
//
// Starts three nodes in one process on free ports, looks at the first one's page in a headless
// browser, and fails at the first thing that is not as expected.

import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRequire } from "node:module";

const [herdCli, playwrightCore, chromiumPath, shots] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwrightCore);

// How long anything may take on a machine that is busy with other things.
const PATIENCE = 30000;

const work = mkdtempSync(join(tmpdir(), "herd-page-"));
const herdFile = join(work, "herd.toml");
let herd;
let checks = 0;

function check(right, what) {
  checks += 1;
  if (!right) throw new Error(what);
}

async function eventually(what, ask) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const seen = await ask();
    if (seen) {
      checks += 1;
      return seen;
    }
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function freePorts(count) {
  const servers = [];
  for (let i = 0; i < count; i++) {
    servers.push(await new Promise((resolve) => { const server = createServer().listen(0, "127.0.0.1", () => resolve(server)); }));
  }
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("HERD_")));
}

function cli(...words) {
  return execFileSync(herdCli, ["--herd-file", herdFile, ...words], { env: environment(), encoding: "utf8" });
}

async function start(admin) {
  herd = spawn(herdCli, ["--herd-file", herdFile, "up"], { env: environment(), stdio: ["ignore", "ignore", "inherit"] });
  await eventually("the herd is ready", async () => {
    try {
      return (await fetch(`http://127.0.0.1:${admin}/readyz`)).ok;
    } catch {
      return false;
    }
  });
}

async function stop() {
  if (!herd) return;
  const ended = new Promise((resolve) => herd.once("exit", resolve));
  herd.kill("SIGTERM");
  await ended;
  herd = undefined;
}

async function look(browser, admin) {
  const address = `http://127.0.0.1:${admin}/`;
  const head = (await fetch(address)).headers;
  const policy = head.get("content-security-policy");
  check(policy.includes("default-src 'none'") && !policy.includes("unsafe"), `policy: ${policy}`);
  check(head.get("x-content-type-options") === "nosniff", "nosniff");

  const page = await browser.newPage({ viewport: { width: 1280, height: 760 } });
  const errors = [];
  const outside = [];
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("request", (request) => { if (!request.url().startsWith(address)) outside.push(request.url()); });
  page.on("dialog", (dialog) => { errors.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  const text = (selector) => page.locator(selector).innerText();
  await page.goto(address);
  await eventually("it is live", async () => (await text("#badge")) === "live");
  await eventually("a herd without clients says what to do", () => page.locator("#empty").isVisible());
  check((await text("#empty")).includes("herd-cli simulate"), "the hint has a command");

  const evil = "<img/src=x/onerror=alert(1)>";
  cli("report", evil, "48.2,16.37");
  cli("report", "kiwi", "34.07,-118.44");
  cli("--node", "Gamma", "report", "emu", "34.08,-118.45");
  cli("--node", "Beta", "report", "moa", "-43.5,172.6");
  await eventually("clients are counted", async () => (await text("#n-clients")) === "4");
  check(await page.locator("#empty").isHidden(), "the hint is gone");
  await eventually("all agree", async () => (await text("#n-agree")) === "yes");
  await eventually("three nodes are up", async () => (await text("#n-nodes")) === "3 of 3");

  // The canvas shows land, sea and clients.
  const colours = await page.evaluate(() => {
    const canvas = document.getElementById("map");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return [seen.size, seen.has(0xffb000)];
  });
  check(colours[0] > 10 && colours[1], `the map is drawn: ${colours}`);

  await page.keyboard.press("/");
  await page.keyboard.type("kiw");
  await page.keyboard.press("Enter");
  await eventually("a client is found by a part of its id", async () => (await text("#client")).includes("34.070000, -118.440000"));
  await eventually("who is near is told", async () => (await text("#client")).includes("Within 10.0 km: 1"));
  await eventually("so is how its location spread", async () => /Alpha after .*from the client[^]*Beta after[^]*Gamma after/.test(await text("#client")));
  if (shots) await page.screenshot({ path: join(shots, "page-client.png") });

  await page.getByRole("tab", { name: "Table" }).click();
  await eventually("the table has all clients", async () => (await page.locator("#table tbody tr").count()) === 1);
  await page.locator("#search").fill("");
  await eventually("the table has all clients", async () => (await page.locator("#table tbody tr").count()) === 4);
  check((await text("#table")).includes(evil), "an id is shown as it is");
  await page.getByRole("button", { name: evil }).click();
  await eventually("an odd id can be chosen", async () => (await page.locator("#client h2").first().innerText()).includes(evil));

  await page.getByRole("tab", { name: "Herd" }).click();
  check((await page.locator("#graph circle").count()) === 3, "three nodes are drawn");
  check((await page.locator("#graph line").count()) === 2, "two links are drawn");
  check((await text("#links")).includes("Alpha → Beta"), "links are listed");

  // By keyboard alone.
  const before = await page.locator("#map").screenshot();
  await page.locator("#map").focus();
  for (const key of ["+", "+", "ArrowLeft", "ArrowUp"]) await page.keyboard.press(key);
  await eventually("the map moves", async () => !(await page.locator("#map").screenshot()).equals(before));
  await page.keyboard.press("Escape");
  await eventually("a client is let go of", async () => (await page.locator("#client h2").count()) === 0);

  // A herd that goes and comes back.
  await stop();
  // At once: it tries again, and says so, half a second later.
  const lost = () => page.locator("#badge").evaluate((badge) => badge.dataset.state === "lost" && badge.innerText.includes("/api/v1/events"));
  await eventually("a lost connection is told, and what failed", lost);
  await start(admin);
  await eventually("it is live again", async () => (await page.locator("#badge").getAttribute("data-state")) === "live");
  await eventually("what is gone is gone", async () => (await text("#n-clients")) === "0");
  check(outside.length === 0, `nothing is asked for elsewhere: ${outside}`);
  const unexpected = errors.filter((error) => !/Failed to load resource|ERR_CONNECTION|ERR_INCOMPLETE|network error/i.test(error));
  check(unexpected.length === 0, `no errors: ${unexpected}`);
  await page.close();

  const narrow = await browser.newPage({ viewport: { width: 360, height: 740 } });
  await narrow.goto(address);
  await eventually("it is live", async () => (await narrow.locator("#badge").innerText()) === "live");
  const overflow = await narrow.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(overflow <= 0, `nothing sticks out of a narrow screen: ${overflow} px`);
  await narrow.close();
}

// Many clients that move, in both schemes of colour.
async function crowd(browser, admin) {
  cli("simulate", "--clients", "2000", "--every", "500ms", "--for", "3s");
  for (const colorScheme of ["light", "dark"]) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 760 }, colorScheme });
    await page.goto(`http://127.0.0.1:${admin}/`);
    await eventually("all are shown", async () => (await page.locator("#n-clients").innerText()) === "2,000");
    await page.locator("#colour").selectOption("origin");
    await page.getByRole("tab", { name: "Herd" }).click();
    await eventually("the herd is drawn", async () => (await page.locator("#graph circle").count()) === 3);
    await eventually("origins have a legend", async () => (await page.locator("#legend").innerText()).includes("Gamma"));
    if (shots) await page.screenshot({ path: join(shots, `page-${colorScheme}.png`) });
    await page.close();
  }
}

const ports = await freePorts(9);
const nodes = ["Alpha", "Beta", "Gamma"].map((name, index) => {
  const [address, text, admin] = ports.slice(index * 3, index * 3 + 3).map((port) => `127.0.0.1:${port}`);
  const friends = index < 2 ? `friends = ["${["Beta", "Gamma"][index]}"]\n` : "";
  return `[[nodes]]\nname = "${name}"\naddress = "${address}"\ntext = "${text}"\nadmin = "${admin}"\n${friends}`;
});
writeFileSync(herdFile, `cluster = "pasture"\n\n${nodes.join("\n")}`);
let browser;
try {
  await start(ports[2]);
  browser = await chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox"] });
  await look(browser, ports[2]);
  await crowd(browser, ports[2]);
  console.log(`page: ${checks} checks passed`);
} catch (error) {
  console.error(`page: FAILED: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser?.close();
  await stop();
  rmSync(work, { recursive: true, force: true });
}
