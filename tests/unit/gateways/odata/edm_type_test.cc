#include "gateways/odata/edm_type.h"

#include <gtest/gtest.h>

#include <string>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

std::string Text(EdmType type, std::string_view text, const CsdlEnum* members = nullptr) {
  const auto result = FieldTextOf(type, members, text);
  return result.ok() ? *result : ErrorCode(result.status());
}

TEST(EdmTypeTest, Names) {
  EXPECT_EQ(EdmTypeFromName("Edm.SByte"), EdmType::kInteger);
  EXPECT_EQ(EdmTypeFromName("Edm.Single"), EdmType::kDouble);
  for (const char* name : {"", "String", "Edm.Stream", "Edm.GeographyPoint", "Edm.GeometryPoint",
                           "Edm.Untyped", "Edm.PrimitiveType", "edm.string"}) {
    EXPECT_EQ(EdmTypeFromName(name), std::nullopt) << name;
  }
}

TEST(EdmTypeTest, BinaryIsBase64OfEitherAlphabet) {
  EXPECT_EQ(Text(EdmType::kBinary, "_-8"), "/+8=");
  EXPECT_EQ(Text(EdmType::kBinary, "/+8="), "/+8=");
  EXPECT_EQ(Text(EdmType::kBinary, "AQ=="), "AQ==");
  EXPECT_EQ(Text(EdmType::kBinary, ""), "");
}

TEST(EdmTypeTest, SecondsMayBeLeftOut) {
  EXPECT_EQ(Text(EdmType::kTimeOfDay, "10:30"), "10:30:00");
  EXPECT_EQ(Text(EdmType::kTimeOfDay, "10:30:05.5"), "10:30:05.5");
  EXPECT_EQ(Text(EdmType::kTimeOfDay, "1:3"), "1:3");
  EXPECT_EQ(Text(EdmType::kDateTimeOffset, "2026-01-31T10:30Z"), "2026-01-31T10:30:00Z");
  EXPECT_EQ(Text(EdmType::kDateTimeOffset, "2026-01-31T10:30+01:00"), "2026-01-31T10:30:00+01:00");
  EXPECT_EQ(Text(EdmType::kDateTimeOffset, "2026-01-31T10:30:05Z"), "2026-01-31T10:30:05Z");
  EXPECT_EQ(Text(EdmType::kDateTimeOffset, "2026"), "2026");
}

TEST(EdmTypeTest, MembersOfEnumerations) {
  const CsdlEnum color{false, {{"Red", 0}, {"Green", 1}, {"Lime", 1}}};
  EXPECT_EQ(Text(EdmType::kEnum, "Red", &color), "Red");
  EXPECT_EQ(Text(EdmType::kEnum, "1", &color), "Green");
  EXPECT_EQ(Text(EdmType::kEnum, "2", &color), "type_mismatch");
  EXPECT_EQ(Text(EdmType::kEnum, "-1", &color), "type_mismatch");
  EXPECT_EQ(Text(EdmType::kEnum, "Blue", &color), "Blue") << "it may have come since";
  const CsdlEnum flags{true, {{"None", 0}, {"Read", 1}, {"Write", 2}, {"All", 7}}};
  EXPECT_EQ(Text(EdmType::kEnum, "0", &flags), "None");
  EXPECT_EQ(Text(EdmType::kEnum, "3", &flags), "Read,Write");
  EXPECT_EQ(Text(EdmType::kEnum, "7", &flags), "All");
  EXPECT_EQ(Text(EdmType::kEnum, "8", &flags), "type_mismatch");
  EXPECT_EQ(Text(EdmType::kEnum, "Read,Write", &flags), "Read,Write");
}

}  // namespace
}  // namespace sluice::gateways
