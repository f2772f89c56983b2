#include "gateways/secrets/secret_text.h"

#include <gtest/gtest.h>

#include <concepts>
#include <sstream>
#include <type_traits>
#include <utility>

#include "fmt/format.h"

namespace sluice::gateways {
namespace {

template <typename T>
concept CanBeStreamed = requires(std::ostringstream out, const T& value) { out << value; };

static_assert(!std::is_copy_constructible_v<SecretText> && !std::is_copy_assignable_v<SecretText>);
static_assert(std::is_nothrow_move_constructible_v<SecretText>);
static_assert(!std::convertible_to<SecretText, std::string_view>);
static_assert(!std::is_constructible_v<SecretText, const std::string&>);  // the copy would stay
static_assert(!fmt::is_formattable<SecretText>::value && !CanBeStreamed<SecretText>);

TEST(SecretTextTest, TakesTheTextAndLeavesNothing) {
  for (const std::string_view text : {"short", "longer than a string holds within itself"}) {
    std::string given(text);
    const std::string_view bytes(given.data(), given.size());
    const SecretText secret(std::move(given));
    EXPECT_EQ(secret.Reveal(), text);
    EXPECT_FALSE(secret.empty());
    EXPECT_EQ(given.size(), 0U);  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(bytes.substr(1), std::string(text.size() - 1, '\0'));  // the first ends the string
  }
}

TEST(SecretTextTest, IsMoved) {
  SecretText first(std::string("one"));
  SecretText second(std::move(first));
  EXPECT_EQ(second.Reveal(), "one");
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move)
  first = SecretText(std::string("two"));
  second = std::move(first);
  EXPECT_EQ(second.Reveal(), "two");
}

TEST(SecretTextTest, MayBeEmpty) {
  EXPECT_EQ(SecretText().Reveal(), "");
  EXPECT_EQ(SecretText(std::string()).Reveal(), "");
}

}  // namespace
}  // namespace sluice::gateways
