// 16-bit mono sound as a WAV file.

const HEADER_BYTES = 44;

/**
 * @param {Int16Array[]} pieces
 * @param {number} rateHz
 * @returns {Blob}
 */
export function wav(pieces, rateHz) {
  const bytes = pieces.reduce((total, piece) => total + piece.byteLength, 0);
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  const text = (at, letters) => [...letters].forEach((letter, n) => header.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, HEADER_BYTES - 8 + bytes, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);          // size of the format that follows
  header.setUint16(20, 1, true);           // PCM
  header.setUint16(22, 1, true);           // mono
  header.setUint32(24, rateHz, true);
  header.setUint32(28, 2 * rateHz, true);  // bytes a second
  header.setUint16(32, 2, true);           // bytes a sample
  header.setUint16(34, 16, true);          // bits a sample
  text(36, "data");
  header.setUint32(40, bytes, true);
  return new Blob([header.buffer, ...pieces], { type: "audio/wav" });
}

/** Have the browser save `blob` as `name`. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
