/** Builders for the protocol buffer messages of a SentencePiece model, written apart from the reader. */

export function varint(value: number): number[] {
  const out: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...out, rest];
    out.push((rest % 128) + 128);
  }
}

export const bytesField = (number: number, bytes: readonly number[]): number[] => [
  ...varint(number * 8 + 2),
  ...varint(bytes.length),
  ...bytes,
];

export const numberField = (number: number, value: number): number[] => [
  ...varint(number * 8),
  ...varint(value),
];

const floatField = (number: number, value: number): number[] => [
  ...varint(number * 8 + 5),
  ...new Uint8Array(new Float32Array([value]).buffer),
];

export interface Piece {
  readonly text: string;
  readonly score?: number;
  readonly type?: number;
}

export const pieceMessage = ({ text, score, type }: Piece): number[] => [
  ...bytesField(1, [...new TextEncoder().encode(text)]),
  ...(score === undefined ? [] : floatField(2, score)),
  ...(type === undefined ? [] : numberField(3, type)),
];

/** A tokenizer.model of the BPE kind. */
export const sentencePieceModel = (pieces: readonly Piece[], addsDummyPrefix = true): Uint8Array =>
  Uint8Array.from([
    ...pieces.flatMap((piece) => bytesField(1, pieceMessage(piece))),
    ...bytesField(2, [...numberField(3, 2), ...numberField(4, pieces.length)]),
    ...bytesField(3, numberField(3, addsDummyPrefix ? 1 : 0)),
  ]);
