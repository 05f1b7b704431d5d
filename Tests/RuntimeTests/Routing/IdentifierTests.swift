import FlotillaIO
import FlotillaRaft
import Testing

@testable import Flotilla

@Suite("Texts that name groups and places")
struct IdentifierTests {
    @Test(
        "a generated id names its group and its run, and no other text does",
        arguments: [1, 2, 35, 36, .max] as [UInt64])
    func generatedIDs(group: UInt64) throws {
        let id = GeneratedID(group: GroupID(group), runID: RunID(milliseconds: 1_000, random: (group, 7)))
        #expect(GeneratedID(id.text) == id)
        let text = id.text
        for other in [
            "", "~", "~.", String(text.dropFirst()), String(text.dropLast()), text + "0", text.uppercased(),
            "~0" + text.dropFirst(), "~+" + text.dropFirst(), " " + text,
        ] where other != text {
            #expect(GeneratedID(other) == nil, "\(other)")
        }
    }

    @Test("where a page begins is read as it was written, and anything else is none")
    func listPlaces() throws {
        #expect(try #require(ListPlace(nil)).position(of: GroupID(7)) == 0)
        var place = try #require(ListPlace(""))
        place.set(GroupID(2), 40)
        #expect(place.text == "40")
        #expect(ListPlace("40") == place)
        place.set(GroupID(17), 3)
        #expect(place.text == "2.40-17.3")
        #expect(ListPlace(place.text) == place)
        for text in ["-", "2.", ".3", "2.40-", "2.40-2.41", "2.40-x.1", "2.1.3", "-1", "2,3"] {
            #expect(ListPlace(text) == nil, "\(text)")
        }
    }

    @Test("base64 for URLs has no padding, and only the text that it gives is read")
    func base64URL() throws {
        // RFC 4648, 10, and the two characters that differ.
        let known = [
            "": "", "f": "Zg", "fo": "Zm8", "foo": "Zm9v", "foob": "Zm9vYg", "fooba": "Zm9vYmE", "foobar": "Zm9vYmFy",
        ]
        for (bytes, text) in known {
            #expect(Base64URL.encode(Array(bytes.utf8)) == text)
            #expect(Base64URL.decode(text) == Array(bytes.utf8))
        }
        #expect(Base64URL.encode([0xfb, 0xff]) == "-_8" && Base64URL.decode("-_8") == [0xfb, 0xff])
        // Padded, of the other alphabet, too short, with bits that mean nothing, or with something in between.
        for text in ["Zg==", "+/8", "Z", "Zh", "Zm9v Yg", "Zm9vYg\n", "Zm9é"] {
            #expect(Base64URL.decode(text) == nil, "\(text)")
        }
    }
}
