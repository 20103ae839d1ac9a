/**
 * Texts on which tokenizers differ. Normalised (NFC): Qwen's tokenizer does that to its input, llama.cpp does not.
 */
export const tricky: readonly string[] = [
  '',
  ' ',
  '\n',
  '  two  spaces   three    ',
  ' leading and trailing ',
  '\t\ttabs\n\n\nlines\r\n\r\nCR LF \r\n\r lone CR',
  '  \n  \n\t',
  'emoji 😀👩‍👩‍👧‍👦🇩🇪 ✈️ 😀😀😀😀',
  '中文字符，测试。日本語テスト 한국어',
  'مرحبا שלום नमस्ते ไทย',
  'control \u0000\u0001\u0007\u001b\u007f\u0085 end',
  '1 12 123 1234 1234567 12,345.67 1e-10 0x1F ½ ²³ Ⅻ ٣٤٥ १२३',
  "I'm you're we've they'll he'd it's DON'T I'M WE'VE can't ’tis 'S",
  'naïve café ﬁ ß ẞ Åström',
  '\u00a0nbsp\u2003em\u3000ideographic\u200b\ufeff\u2028\u2029',
  'a_b-c/d\\e@f#g$h%i^j&k*l(m)n ... !!! ??? --- ===',
  "don't\n 5 apples\n\n  indented\n\tcode();\n}\n",
  '▁▁under ▁ Ġ Ċ',
  '𝒳𝓎 𠜎 \u{10fffd}',
  'x'.repeat(300),
  // Not </s>, which llama.cpp takes for special wherever the vocabulary has such a text.
  '<|endoftext|>a<|endoftext|> b <|im_start|>user\n<|begin_of_text|><s> <unk> [INST]',
];
