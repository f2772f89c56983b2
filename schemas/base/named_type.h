#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <utility>

namespace sluice {

// A value of type `Rep` that cannot be mixed up with another of the same representation.
// Values are compared and hashed as their representation; arithmetic goes through value().
template <typename Rep, typename Tag>
class NamedType {
 public:
  using rep = Rep;

  constexpr NamedType() = default;
  constexpr explicit NamedType(Rep value) : value_(std::move(value)) {}

  constexpr const Rep& value() const { return value_; }

  friend constexpr auto operator<=>(const NamedType&, const NamedType&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const NamedType& v) {
    return H::combine(std::move(h), v.value_);
  }

 private:
  Rep value_{};
};

}  // namespace sluice

template <typename Rep, typename Tag>
struct std::hash<sluice::NamedType<Rep, Tag>> {
  std::size_t operator()(const sluice::NamedType<Rep, Tag>& v) const {
    return std::hash<Rep>()(v.value());
  }
};
