// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

// Where values lie in a JSON text. A runtime's result and an administrator's conflist must come out as they
// went in (number spelling, key order, indentation), so they are cut and spliced as text instead of printed
// anew.
//
// PURE. The text must be valid JSON (boost::json accepted it); on anything else the answers are meaningless
// but in bounds.
namespace heddle::cni {

// [begin, end) of a value, without surrounding white space.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;

  std::string_view of(std::string_view text) const { return text.substr(begin, end - begin); }
};

// The whole document's value.
Span document(std::string_view text);

// The value of `key` in the object at `object`; of duplicates the last, as boost::json has it. None when
// `object` is not an object or lacks the key.
std::optional<Span> member(std::string_view text, Span object, std::string_view key);

// The elements of the array at `array`; none when it is not an array.
std::vector<Span> elements(std::string_view text, Span array);

}  // namespace heddle::cni
