// The herd's IAMAT job as a Node.js server does it: reads lines, stores, answers a read at once.
//
//     node node_server.js PORT
"use strict";

const net = require("node:net");

const POSITION = /^([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)$/;
const clients = new Map();

function answer(line) {
  const words = line.split(" ");
  if (words.length !== 4 || words[0] !== "IAMAT") return `? ${line}\n`;
  const [, client, position, sent] = words;
  const match = POSITION.exec(position);
  if (match === null) return `? ${line}\n`;
  const latitude = Number(match[1]);
  const longitude = Number(match[2]);
  if (Math.abs(latitude) > 90 || Math.abs(longitude) > 180) return `? ${line}\n`;
  const moment = Number(sent);
  const difference = Date.now() / 1000 - moment;
  const sign = difference < 0 ? "" : "+";
  const text = `AT Peer ${sign}${difference.toFixed(9)} ${client} ${position} ${sent}\n`;
  const known = clients.get(client);
  if (known === undefined || known.moment < moment) {
    clients.set(client, { latitude, longitude, moment, text });
  }
  return text;
}

const server = net.createServer({ noDelay: true }, (socket) => {
  let rest = "";
  socket.setEncoding("latin1");
  socket.on("data", (data) => {
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    let answers = "";
    for (const line of lines) answers += answer(line);
    socket.write(answers);
  });
  socket.on("error", () => socket.destroy());
});
server.listen(Number(process.argv[2]), "127.0.0.1");
