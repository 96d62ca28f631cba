// How much has to be installed for a device with Microsoft's SDK: packages and their bytes, and those of
// the interpreter.

'use strict';

const fs = require('fs');
const path = require('path');

const modules = process.env.NODE_PATH;

/** The folder that `require` would find a package in, seen from another package's folder. */
function find(name, from) {
  for (let folder = from; folder.startsWith(modules); folder = path.dirname(folder)) {
    const candidate = path.join(folder, 'node_modules', name);
    if (fs.existsSync(candidate)) return candidate;
  }
  const candidate = path.join(modules, name);
  return fs.existsSync(candidate) ? candidate : null;
}

function bytesOf(folder) {
  let bytes = 0;
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    // What is in there is another package's.
    if (entry.name === 'node_modules') continue;
    const file = path.join(folder, entry.name);
    bytes += entry.isDirectory() ? bytesOf(file) : fs.lstatSync(file).size;
  }
  return bytes;
}

const found = new Set();
const wanted = ['azure-iot-device', 'azure-iot-device-mqtt'].map((name) => find(name, modules));
while (wanted.length > 0) {
  const folder = wanted.pop();
  if (folder === null || found.has(folder)) continue;
  found.add(folder);
  const manifest = JSON.parse(fs.readFileSync(path.join(folder, 'package.json')));
  const names = Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies });
  wanted.push(...names.map((name) => find(name, folder)));
}
let bytes = 0;
for (const folder of found) bytes += bytesOf(folder);
const interpreter = fs.statSync(process.execPath).size;
console.log(JSON.stringify({ packages: found.size, bytes, interpreter }));
