#include "schemas/base/text_codec.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace sluice {
namespace {

std::string Base64Of(std::string_view bytes) {
  std::string text(Base64Size(bytes.size()), ' ');
  EncodeBase64(bytes, text.data());
  return text;
}

TEST(TextCodecTest, Base64HasOneForm) {
  // RFC 4648, section 10.
  const std::string words[][2] = {{"", ""},
                                  {"f", "Zg=="},
                                  {"fo", "Zm8="},
                                  {"foo", "Zm9v"},
                                  {"foob", "Zm9vYg=="},
                                  {"fooba", "Zm9vYmE="},
                                  {"foobar", "Zm9vYmFy"},
                                  {"\xfb\xff", "+/8="}};
  for (const auto& [bytes, text] : words) {
    EXPECT_EQ(Base64Of(bytes), text);
    EXPECT_EQ(DecodeBase64(text), bytes);
  }
  for (const char* refused : {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Z===", "====", "Zm 9v",
                              "Zm9v\n", "-_8=", "Zg==Zg==", "Z=g=", "\xc3\xa9=="}) {
    EXPECT_EQ(DecodeBase64(refused), std::nullopt) << refused;
  }
}

TEST(TextCodecTest, Base64UrlHasOneForm) {
  // RFC 7515, appendix C.
  const std::string bytes = "\x03\xec\xff\xe0\xc1";
  EXPECT_EQ(EncodeBase64Url(bytes), "A-z_4ME");
  EXPECT_EQ(DecodeBase64Url("A-z_4ME"), bytes);
  EXPECT_EQ(DecodeBase64Url(""), "");
  for (int size = 0; size < 10; ++size) {
    const std::string text(static_cast<size_t>(size), '\xfb');
    EXPECT_EQ(DecodeBase64Url(EncodeBase64Url(text)), text);
  }
  for (const char* refused : {"A", "AAAAA", "A+z/4ME", "A-z_4ME=", "A-z_ 4ME", "A-z_4MF", "AB",
                              "A-z\n_4ME", "\xc3\xa9"}) {
    EXPECT_EQ(DecodeBase64Url(refused), std::nullopt) << refused;
  }
}

}  // namespace
}  // namespace sluice
