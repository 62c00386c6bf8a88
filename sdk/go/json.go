package wasmill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// DepthMax is how deep objects and lists may be nested.
const DepthMax = 128

// JSON decodes the value into a variable, as encoding/json does, and keeps the digits of numbers in an any: they are of the type
// json.Number. It rejects with the code bad-json what isn't JSON or doesn't fit the variable, bytes that aren't UTF-8, which
// encoding/json takes, and objects and lists that are nested more than 128 deep.
//
// A tombstone is rejected, too: check for a nil value before.
func (r *Record) JSON(into any) error {
	if err := CheckJSON(r.Value); err != nil {
		return Reject("bad-json", err.Error())
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Value))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return Reject("bad-json", err.Error())
	}
	return nil
}

// Splice returns the value with other values for some members of its outermost object, and rejects what isn't JSON with the code
// bad-json. See the function [Splice].
func (r *Record) Splice(replace func(name, value []byte) []byte) ([]byte, error) {
	text, err := Splice(r.Value, replace)
	if err != nil {
		return nil, Reject("bad-json", err.Error())
	}
	return text, nil
}

// Splice checks a whole document, and returns it with other values for some members of its outermost object. Everything else stays byte
// for byte: white space, the digits of numbers, the order of names, escapes. A document that isn't an object has no members.
//
// The function gets the name of each member, decoded, and the JSON text of its value. It returns the JSON text that replaces the value,
// which isn't checked, or nil. A name that occurs twice is passed twice. The result may be the document itself.
func Splice(document []byte, replace func(name, value []byte) []byte) ([]byte, error) {
	if !utf8.Valid(document) {
		return nil, &SyntaxError{"bytes that are not UTF-8", invalidAt(document)}
	}
	s := scanner{text: document}
	var spliced []byte
	rest := 0
	at := s.space(0)
	switch {
	case s.byte(at) != '{' || replace == nil:
		at = s.value(at, 0)
	case s.byte(s.space(at+1)) == '}':
		at = s.space(at+1) + 1
	default:
		for more := true; more; {
			name, hasEscapes, first := s.name(s.space(at + 1))
			if first < 0 {
				return nil, s.failure
			}
			if at = s.value(first, 1); at < 0 {
				return nil, s.failure
			}
			if hasEscapes {
				name = decode(name)
			}
			if with := replace(name, document[first:at:at]); with != nil {
				if spliced == nil {
					spliced = make([]byte, 0, len(document)+32)
				}
				spliced = append(append(spliced, document[rest:first]...), with...)
				rest = at
			}
			at = s.space(at)
			more = s.byte(at) == ','
			if !more && s.byte(at) != '}' {
				s.fail(noEnd, at)
				return nil, s.failure
			}
		}
		at++
	}
	if at < 0 {
		return nil, s.failure
	}
	if at = s.space(at); at < len(document) {
		return nil, &SyntaxError{"more than one value", at}
	}
	if spliced == nil {
		return document, nil
	}
	return append(spliced, document[rest:]...), nil
}

// CheckJSON returns why a text isn't JSON: a *[SyntaxError], or nil.
func CheckJSON(text []byte) error {
	_, err := Splice(text, nil)
	return err
}

// SyntaxError is why a text isn't JSON.
type SyntaxError struct {
	what string
	// Offset is the number of bytes before the error.
	Offset int
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("not JSON: %s, at byte %d", e.what, e.Offset)
}

func invalidAt(text []byte) int {
	for at := 0; at < len(text); {
		char, size := utf8.DecodeRune(text[at:])
		if char == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return len(text)
}

const noEnd = "a comma or the end of an object or list is missing"

// scanner reads JSON. Each function returns the position behind what it read, or -1 after it noted the failure.
type scanner struct {
	text    []byte
	failure *SyntaxError
}

func (s *scanner) fail(what string, at int) int {
	s.failure = &SyntaxError{what, at}
	return -1
}

// byte returns the byte at a position, and 0 at the end: no JSON has it outside of a string, and none inside.
func (s *scanner) byte(at int) byte {
	if at < len(s.text) {
		return s.text[at]
	}
	return 0
}

func (s *scanner) space(at int) int {
	for at < len(s.text) && (s.text[at] == ' ' || s.text[at] == '\n' || s.text[at] == '\t' || s.text[at] == '\r') {
		at++
	}
	return at
}

// isPlain says which bytes of a string need no second look: not quotes, backslashes and control characters.
var isPlain = func() (plain [256]bool) {
	for char := range plain {
		plain[char] = char >= ' ' && char != '"' && char != '\\'
	}
	return plain
}()

// string reads a string from its opening quote.
func (s *scanner) string(at int) (end int, hasEscapes bool) {
	text := s.text
	for at++; ; {
		for at < len(text) && isPlain[text[at]] {
			at++
		}
		if at == len(text) {
			return s.fail("a string without an end", at), false
		}
		if text[at] == '"' {
			return at + 1, hasEscapes
		}
		if text[at] != '\\' {
			return s.fail("a control character in a string", at), false
		}
		hasEscapes = true
		switch s.byte(at + 1) {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			at += 2
		case 'u':
			if unit(text, at+2) < 0 {
				return s.fail("an unknown escape", at), false
			}
			at += 6
		default:
			return s.fail("an unknown escape", at), false
		}
	}
}

// unit returns the number of the four hexadecimal digits behind `\u`, or -1.
func unit(text []byte, at int) rune {
	if len(text)-at < 4 {
		return -1
	}
	var value rune
	for _, char := range text[at : at+4] {
		switch {
		case '0' <= char && char <= '9':
			char -= '0'
		case 'a' <= char|32 && char|32 <= 'f':
			char = char | 32 - 'a' + 10
		default:
			return -1
		}
		value = value<<4 | rune(char)
	}
	return value
}

// digits reads at least one digit.
func (s *scanner) digits(at int) int {
	first := at
	for at < len(s.text) && '0' <= s.text[at] && s.text[at] <= '9' {
		at++
	}
	if at == first {
		return s.fail("a digit is missing", at)
	}
	return at
}

func (s *scanner) number(at int) int {
	if s.byte(at) == '-' {
		at++
	}
	if s.byte(at) == '0' {
		at++
	} else if at = s.digits(at); at < 0 {
		return -1
	}
	if s.byte(at) == '.' {
		if at = s.digits(at + 1); at < 0 {
			return -1
		}
	}
	if s.byte(at)|32 == 'e' {
		at++
		if s.byte(at) == '+' || s.byte(at) == '-' {
			at++
		}
		at = s.digits(at)
	}
	return at
}

func (s *scanner) word(at int, word string) int {
	if len(s.text)-at >= len(word) && string(s.text[at:at+len(word)]) == word {
		return at + len(word)
	}
	return s.fail("an unknown word", at)
}

// plain reads a value that is no object and no list.
func (s *scanner) plain(at int) int {
	switch char := s.byte(at); {
	case char == '"':
		end, _ := s.string(at)
		return end
	case char == '-' || '0' <= char && char <= '9':
		return s.number(at)
	case char == 't':
		return s.word(at, "true")
	case char == 'f':
		return s.word(at, "false")
	case char == 'n':
		return s.word(at, "null")
	}
	return s.fail("a value is missing", at)
}

// name reads the name of a member, its colon and the white space behind it. The name isn't decoded yet.
func (s *scanner) name(at int) (name []byte, hasEscapes bool, end int) {
	if s.byte(at) != '"' {
		return nil, false, s.fail("a name is missing", at)
	}
	end, hasEscapes = s.string(at)
	if end < 0 {
		return nil, false, -1
	}
	name = s.text[at+1 : end-1 : end-1]
	if at = s.space(end); s.byte(at) != ':' {
		return nil, false, s.fail("a colon is missing", at)
	}
	return name, hasEscapes, s.space(at + 1)
}

// value reads any value within as many others as depth says. Without recursion: isObject says what the open ones are.
func (s *scanner) value(at, depth int) int {
	var isObject [DepthMax]bool
	outer := depth
	for {
		if char := s.byte(at); char == '{' || char == '[' {
			if depth == DepthMax {
				return s.fail("nested more than 128 deep", at)
			}
			isObject[depth] = char == '{'
			depth++
			at = s.space(at + 1)
			if s.byte(at) != closing(char == '{') {
				if char == '{' {
					if _, _, at = s.name(at); at < 0 {
						return -1
					}
				}
				continue
			}
		} else {
			if at = s.plain(at); at < 0 || depth == outer {
				return at
			}
			at = s.space(at)
		}
		// Behind a value, or at the end of an empty object or list.
		for s.byte(at) != ',' {
			if s.byte(at) != closing(isObject[depth-1]) {
				return s.fail(noEnd, at)
			}
			at++
			if depth--; depth == outer {
				return at
			}
			at = s.space(at)
		}
		at = s.space(at + 1)
		if isObject[depth-1] {
			if _, _, at = s.name(at); at < 0 {
				return -1
			}
		}
	}
}

func closing(isObject bool) byte {
	if isObject {
		return '}'
	}
	return ']'
}

// decode decodes the inside of a string that was checked. A lone surrogate becomes three bytes that no valid text has, so that it equals
// no other name.
func decode(inside []byte) []byte {
	text := make([]byte, 0, len(inside))
	for at := 0; at < len(inside); at++ {
		char := inside[at]
		if char != '\\' {
			text = append(text, char)
			continue
		}
		at++
		switch char = inside[at]; char {
		case 'b':
			char = '\b'
		case 'f':
			char = '\f'
		case 'n':
			char = '\n'
		case 'r':
			char = '\r'
		case 't':
			char = '\t'
		}
		if char != 'u' {
			text = append(text, char)
			continue
		}
		code := unit(inside, at+1)
		at += 4
		isPair := code>>10 == 0x36 && len(inside)-at > 2 && inside[at+1] == '\\' && inside[at+2] == 'u'
		if second := unit(inside, at+3); isPair && second>>10 == 0x37 {
			code = 0x10000 + (code&0x3ff<<10 | second&0x3ff)
			at += 6
		}
		if code>>11 == 0x1b {
			text = append(text, 0xe0|byte(code>>12), 0x80|byte(code>>6&0x3f), 0x80|byte(code&0x3f))
		} else {
			text = utf8.AppendRune(text, code)
		}
	}
	return text
}
