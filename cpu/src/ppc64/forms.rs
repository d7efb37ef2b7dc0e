//! The table of fixed-point, branch, condition and system instructions: one row a form. Power ISA 3.0B.

use std::sync::OnceLock;

/// One instruction form.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Mnemonic without `.`, `o`, `l` or `a`.
    pub mnemonic: &'static str,
    /// Bits of the instruction word that are fixed. Reserved bits are not: hardware ignores them.
    pub mask: u32,
    /// Their values.
    pub value: u32,
    /// What it is.
    pub kind: Kind,
    /// Its class.
    pub class: Class,
}

/// How a form may be used by a test or a checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Registers only.
    Register,
    /// Reads or writes memory at an address from registers.
    Memory,
    /// Changes the flow of control, or may trap.
    Branch,
    /// Privileged, or touches state other than GPR, CR, XER, LR, CTR.
    System,
}

const fn d(op: u32) -> (u32, u32) {
    (0xfc00_0000, op << 26)
}
const fn ds(op: u32, xo: u32) -> (u32, u32) {
    (0xfc00_0003, op << 26 | xo)
}
const fn x(op: u32, xo: u32) -> (u32, u32) {
    (0xfc00_07fe, op << 26 | xo << 1)
}
const fn xo9(xo: u32) -> (u32, u32) {
    (0xfc00_03fe, 31 << 26 | xo << 1)
}
const fn xs(xo: u32) -> (u32, u32) {
    (0xfc00_07fc, 31 << 26 | xo << 2)
}
const fn a5(op: u32, xo: u32) -> (u32, u32) {
    (0xfc00_003e, op << 26 | xo << 1)
}
const fn va(xo: u32) -> (u32, u32) {
    (0xfc00_003f, 4 << 26 | xo)
}
const fn md(xo: u32) -> (u32, u32) {
    (0xfc00_001c, 30 << 26 | xo << 2)
}
const fn mds(xo: u32) -> (u32, u32) {
    (0xfc00_001e, 30 << 26 | xo << 1)
}
const fn sc(low: u32) -> (u32, u32) {
    (0xfc00_0003, 17 << 26 | low)
}
const fn z23(xo: u32) -> (u32, u32) {
    (0xfc00_01fe, 31 << 26 | xo << 1)
}

macro_rules! forms {
    ($($class:ident { $($kind:ident $mnemonic:literal $pattern:expr;)+ })+) => {
        /// Kinds of instructions, one a row of [`FORMS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the mnemonics are the ISA's")]
        pub enum Kind { $($($kind,)+)+ }
        /// All forms.
        pub static FORMS: &[Form] = &[
            $($({
                const P: (u32, u32) = $pattern;
                Form { mnemonic: $mnemonic, mask: P.0, value: P.1, kind: Kind::$kind, class: Class::$class }
            },)+)+
        ];
    };
}

forms! {
    Register {
        Addi "addi" d(14); Addis "addis" d(15); Mulli "mulli" d(7); Subfic "subfic" d(8); Addic "addic" d(12); AddicRc "addic." d(13);
        Cmpli "cmpli" d(10); Cmpi "cmpi" d(11); Ori "ori" d(24); Oris "oris" d(25); Xori "xori" d(26); Xoris "xoris" d(27);
        AndiRc "andi." d(28); AndisRc "andis." d(29);
        Rlwimi "rlwimi" d(20); Rlwinm "rlwinm" d(21); Rlwnm "rlwnm" d(23);
        Rldicl "rldicl" md(0); Rldicr "rldicr" md(1); Rldic "rldic" md(2); Rldimi "rldimi" md(3); Rldcl "rldcl" mds(8); Rldcr "rldcr" mds(9);
        Maddhd "maddhd" va(48); Maddhdu "maddhdu" va(49); Maddld "maddld" va(51);
        Cmp "cmp" x(31, 0); Cmpl "cmpl" x(31, 32); Cmpb "cmpb" x(31, 508); Cmprb "cmprb" x(31, 192); Cmpeqb "cmpeqb" x(31, 224);
        Setb "setb" x(31, 128);
        Subfc "subfc" xo9(8); Addc "addc" xo9(10); Mulhdu "mulhdu" xo9(9); Mulhwu "mulhwu" xo9(11); Subf "subf" xo9(40);
        Mulhd "mulhd" xo9(73); Mulhw "mulhw" xo9(75); Neg "neg" xo9(104); Subfe "subfe" xo9(136); Adde "adde" xo9(138);
        Subfze "subfze" xo9(200); Addze "addze" xo9(202); Subfme "subfme" xo9(232); Addme "addme" xo9(234); Mulld "mulld" xo9(233);
        Mullw "mullw" xo9(235); Add "add" xo9(266); Divdeu "divdeu" xo9(393); Divweu "divweu" xo9(395); Divde "divde" xo9(425);
        Divwe "divwe" xo9(427); Divdu "divdu" xo9(457); Divwu "divwu" xo9(459); Divd "divd" xo9(489); Divw "divw" xo9(491);
        Addex "addex" z23(170); Addg6s "addg6s" xo9(74); Cdtbcd "cdtbcd" x(31, 282); Cbcdtd "cbcdtd" x(31, 314);
        Modud "modud" x(31, 265); Moduw "moduw" x(31, 267); Modsd "modsd" x(31, 777); Modsw "modsw" x(31, 779);
        Mfcr "mfcr" x(31, 19); Mtcrf "mtcrf" x(31, 144); Mcrxrx "mcrxrx" x(31, 576); Isel "isel" a5(31, 15);
        Slw "slw" x(31, 24); Cntlzw "cntlzw" x(31, 26); Sld "sld" x(31, 27); And "and" x(31, 28); Cntlzd "cntlzd" x(31, 58);
        Andc "andc" x(31, 60); Popcntb "popcntb" x(31, 122); Nor "nor" x(31, 124); Prtyw "prtyw" x(31, 154); Prtyd "prtyd" x(31, 186);
        Bpermd "bpermd" x(31, 252); Eqv "eqv" x(31, 284); Xor "xor" x(31, 316); Popcntw "popcntw" x(31, 378); Orc "orc" x(31, 412);
        Or "or" x(31, 444); Nand "nand" x(31, 476); Popcntd "popcntd" x(31, 506); Srw "srw" x(31, 536); Cnttzw "cnttzw" x(31, 538);
        Srd "srd" x(31, 539); Cnttzd "cnttzd" x(31, 570); Sraw "sraw" x(31, 792); Srad "srad" x(31, 794); Srawi "srawi" x(31, 824);
        Sradi "sradi" xs(413); Extswsli "extswsli" xs(445); Extsh "extsh" x(31, 922); Extsb "extsb" x(31, 954); Extsw "extsw" x(31, 986);
        Mcrf "mcrf" x(19, 0); Crnor "crnor" x(19, 33); Crandc "crandc" x(19, 129); Crxor "crxor" x(19, 193); Crnand "crnand" x(19, 225);
        Crand "crand" x(19, 257); Creqv "creqv" x(19, 289); Crorc "crorc" x(19, 417); Cror "cror" x(19, 449);
    }
    Memory {
        Lwz "lwz" d(32); Lwzu "lwzu" d(33); Lbz "lbz" d(34); Lbzu "lbzu" d(35); Stw "stw" d(36); Stwu "stwu" d(37); Stb "stb" d(38);
        Stbu "stbu" d(39); Lhz "lhz" d(40); Lhzu "lhzu" d(41); Lha "lha" d(42); Lhau "lhau" d(43); Sth "sth" d(44); Sthu "sthu" d(45);
        Lmw "lmw" d(46); Stmw "stmw" d(47); Lq "lq" d(56); Ld "ld" ds(58, 0); Ldu "ldu" ds(58, 1); Lwa "lwa" ds(58, 2);
        Std "std" ds(62, 0); Stdu "stdu" ds(62, 1); Stq "stq" ds(62, 2);
        Ldx "ldx" x(31, 21); Ldux "ldux" x(31, 53); Lwzx "lwzx" x(31, 23); Lwzux "lwzux" x(31, 55); Lbzx "lbzx" x(31, 87);
        Lbzux "lbzux" x(31, 119); Lhzx "lhzx" x(31, 279); Lhzux "lhzux" x(31, 311); Lhax "lhax" x(31, 343); Lhaux "lhaux" x(31, 375);
        Lwax "lwax" x(31, 341); Lwaux "lwaux" x(31, 373); Stdx "stdx" x(31, 149); Stdux "stdux" x(31, 181); Stwx "stwx" x(31, 151);
        Stwux "stwux" x(31, 183); Stbx "stbx" x(31, 215); Stbux "stbux" x(31, 247); Sthx "sthx" x(31, 407); Sthux "sthux" x(31, 439);
        Ldbrx "ldbrx" x(31, 532); Stdbrx "stdbrx" x(31, 660); Lwbrx "lwbrx" x(31, 534); Stwbrx "stwbrx" x(31, 662);
        Lhbrx "lhbrx" x(31, 790); Sthbrx "sthbrx" x(31, 918); Lswx "lswx" x(31, 533); Lswi "lswi" x(31, 597);
        Stswx "stswx" x(31, 661); Stswi "stswi" x(31, 725); Dcbz "dcbz" x(31, 1014);
        Lbarx "lbarx" x(31, 52); Lharx "lharx" x(31, 116); Lwarx "lwarx" x(31, 20); Ldarx "ldarx" x(31, 84); Lqarx "lqarx" x(31, 276);
        Stbcx "stbcx." x(31, 694); Sthcx "sthcx." x(31, 726); Stwcx "stwcx." x(31, 150); Stdcx "stdcx." x(31, 214); Stqcx "stqcx." x(31, 182);
        Lwat "lwat" x(31, 582); Ldat "ldat" x(31, 614); Stwat "stwat" x(31, 710); Stdat "stdat" x(31, 742);
    }
    Branch {
        B "b" d(18); Bc "bc" d(16); Bclr "bclr" x(19, 16); Bcctr "bcctr" x(19, 528); Bctar "bctar" x(19, 560);
        Twi "twi" d(3); Tdi "tdi" d(2); Tw "tw" x(31, 4); Td "td" x(31, 68); Addpcis "addpcis" a5(19, 2);
    }
    System {
        Sc "sc" sc(2); Scv "scv" sc(1); Rfid "rfid" x(19, 18); Rfscv "rfscv" x(19, 82); Isync "isync" x(19, 150);
        Mfmsr "mfmsr" x(31, 83); Mtmsr "mtmsr" x(31, 146); Mtmsrd "mtmsrd" x(31, 178); Mfspr "mfspr" x(31, 339); Mtspr "mtspr" x(31, 467);
        Mftb "mftb" x(31, 371); Sync "sync" x(31, 598); Eieio "eieio" x(31, 854); Tlbie "tlbie" x(31, 306); Tlbiel "tlbiel" x(31, 274);
        Tlbsync "tlbsync" x(31, 566); Slbia "slbia" x(31, 498); Dcbst "dcbst" x(31, 54); Dcbf "dcbf" x(31, 86); Dcbtst "dcbtst" x(31, 246);
        Dcbt "dcbt" x(31, 278); Icbi "icbi" x(31, 982); Icbt "icbt" x(31, 22); Dss "dss" x(31, 822); Dst "dst" x(31, 342);
        Dstst "dstst" x(31, 374); Wait "wait" x(31, 30); Copy "copy" (0xfc20_07fe, 31 << 26 | 1 << 21 | 774 << 1);
        Paste "paste." (0xfc00_07ff, 31 << 26 | 902 << 1 | 1); CpAbort "cp_abort" x(31, 838); Darn "darn" x(31, 755);
        Msgsndp "msgsndp" x(31, 142); Msgclrp "msgclrp" x(31, 174);
    }
}

/// The row of an instruction word, as an index in [`FORMS`].
pub fn find(insn: u32) -> Option<usize> {
    static TABLE: OnceLock<Vec<[u8; 2]>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut table = vec![[u8::MAX; 2]; 64 * 2048];
        for (i, form) in FORMS.iter().enumerate() {
            let op = (form.value >> 26) as usize;
            for low in 0..2048_u32 {
                if (low ^ form.value) & form.mask & 0x7ff == 0 {
                    table[op * 2048 + low as usize] = (i as u16).to_le_bytes();
                }
            }
        }
        table
    });
    let row =
        u16::from_le_bytes(table[(insn >> 26) as usize * 2048 + (insn & 0x7ff) as usize]) as usize;
    let form = FORMS.get(row)?;
    (insn & form.mask == form.value).then_some(row)
}
